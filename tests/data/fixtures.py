"""Tiny images, folders, zips and sources, generated on the fly."""

import io
import pathlib
import zipfile

import numpy as np
import tifffile
from PIL import Image

from jaxssl.data.file_kinds import DecodeError
from jaxssl.data.image_io import Decoder
from jaxssl.data.input_pipeline import training
from jaxssl.data.source import Source


def quarters(height=24, width=32):
  """Returns four flat quarters, uint8 [h, w, 3], which survive lossy coding and reveal rotations."""
  image = np.zeros((height, width, 3), np.uint8)
  for k, color in enumerate(((200, 30, 40), (20, 180, 60), (30, 60, 210), (240, 220, 120))):
    y, x = divmod(k, 2)
    image[y * height // 2 : (y + 1) * height // 2, x * width // 2 : (x + 1) * width // 2] = color
  return image


def decode(data, channels, name="x", dtype=np.uint8, spare=1.0):
  """Decodes a file to uint8, or to uint16 with a range of 16 bits."""
  return Decoder(channels=channels, bit_depth=8 * np.dtype(dtype).itemsize).decode(data, name, spare)


def jpeg_size(data, channels=3, dtype=np.uint8):
  """Returns the size of a JPEG that can be decoded at a reduced size; else None."""
  return Decoder(channels=channels, bit_depth=8 * np.dtype(dtype).itemsize).jpeg_size(data)


def coded(image, kind="JPEG", **options):
  """Encodes an array or a PIL image."""
  pil_image = image if isinstance(image, Image.Image) else Image.fromarray(image)
  file = io.BytesIO()
  pil_image.save(file, kind, **({"quality": 95} if kind == "JPEG" else {}) | options)
  return file.getvalue()


def npy(array):
  """Encodes an array as .npy."""
  file = io.BytesIO()
  np.save(file, array)
  return file.getvalue()


def tiff(array, **options):
  """Encodes an array as TIFF."""
  file = io.BytesIO()
  tifffile.imwrite(file, array, **{"photometric": "minisblack"} | options)
  return file.getvalue()


def exif(turn):
  """Returns EXIF data with an orientation."""
  data = Image.Exif()
  data[0x0112] = turn
  return data


def flat(gray, size=(8, 8), kind="PNG"):
  """Encodes an image of one gray level."""
  return coded(np.full((*size, 3), gray, np.uint8), kind)


def photo(seed=0, height=300, width=400):
  """Returns a smooth image with some detail, uint8 [h, w, 3], large enough for reduced decoding."""
  small = np.random.default_rng(seed).integers(0, 256, (height // 20, width // 20, 3), dtype=np.uint8)
  return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def noise(seed=0, height=300, width=400):
  """Returns an image that compresses badly, uint8 [h, w, 3]."""
  return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def folder(root, files):
  """Writes {relative name: bytes} and returns the path of the folder."""
  for name, data in files.items():
    path = pathlib.Path(root) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
  return str(root)


def zipped(path, files, method=zipfile.ZIP_STORED):
  """Writes {member name: bytes} and returns the path of the zip."""
  with zipfile.ZipFile(path, "w", method) as archive:
    for name, data in files.items():
      archive.writestr(name, data)
  return str(path)


def batches(source, index, partner, views, seed=0, epoch=0, **options):
  """Returns all batches of an epoch."""
  with training(source, index, partner, views, seed, epoch, **options) as stream:
    return list(stream)


class Images(Source):
  """A source of encoded images; None stands for a missing file."""

  def __init__(self, files, channels=3):
    self.files, self.channels, self.dtype, self.name = list(files), channels, np.dtype(np.uint8), "made"
    self.reads = 0

  def __len__(self):
    return len(self.files)

  def describe(self, index):
    return f"made {index}"

  def encoded(self, index):
    self.reads += 1
    if self.files[index] is None:
      raise DecodeError(f"{self.describe(index)}: vanished")
    return self.files[index]
