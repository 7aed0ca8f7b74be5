"""Tiny pictures, folders, zips and sources made on the fly."""

import io
import pathlib
import zipfile

import numpy as np
from PIL import Image

from jaxssl.data.pictures import BadPicture


def quarters(height=24, width=32):
  """Four flat quarters, uint8 [h, w, 3]: survives lossy coding, and shows when it is turned."""
  picture = np.zeros((height, width, 3), np.uint8)
  for k, colour in enumerate(((200, 30, 40), (20, 180, 60), (30, 60, 210), (240, 220, 120))):
    y, x = divmod(k, 2)
    picture[y * height // 2 : (y + 1) * height // 2, x * width // 2 : (x + 1) * width // 2] = colour
  return picture


def coded(picture, kind="JPEG", **options):
  """The file of a picture: an array, or a PIL image."""
  image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
  file = io.BytesIO()
  image.save(file, kind, **({"quality": 95} if kind == "JPEG" else {}) | options)
  return file.getvalue()


def flat(grey, size=(8, 8), kind="PNG"):
  """The file of a picture of one colour."""
  return coded(np.full((*size, 3), grey, np.uint8), kind)


def photo(seed=0, height=300, width=400):
  """A smooth picture with some detail, large enough for the partial decoder: uint8 [h, w, 3]."""
  small = np.random.default_rng(seed).integers(0, 256, (height // 20, width // 20, 3), dtype=np.uint8)
  return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def noise(seed=0, height=300, width=400):
  """A picture that codes badly, so that its file is large: uint8 [h, w, 3]."""
  return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def folder(root, files):
  """Writes {relative name: bytes}."""
  for name, data in files.items():
    path = pathlib.Path(root) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
  return str(root)


def zipped(path, files, method=zipfile.ZIP_STORED):
  """Writes {member name: bytes}."""
  with zipfile.ZipFile(path, "w", method) as archive:
    for name, data in files.items():
      archive.writestr(name, data)
  return str(path)


class Pictures:
  """A source of given files; None stands for one that has vanished."""

  classes = ()
  labels = None

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
      raise BadPicture(f"{self.describe(index)}: vanished")
    return self.files[index]

  def read(self, index):
    from jaxssl.data.pictures import decode

    return decode(self.encoded(index), self.channels, self.describe(index))
