"""Makes the bytes that a packed dataset holds for an image: those of its file, or of a smaller image, or of lossless pixels."""

import dataclasses
import io

import numpy as np
import simplejpeg
from PIL import Image

from jaxssl.data.crops import resample
from jaxssl.data.file_kinds import Stored
from jaxssl.data.image_io import Decoder, resize
from jaxssl.data.source import Source, decoder_of

_LARGER = 2  # times the result that a JPEG is decoded at, at least, so that the last resize decides how it looks
_LONGEST = 65500  # pixels, side of a JPEG in libjpeg


def packed(source: Source, index: int, shorter_side: int, quality: int) -> tuple[bytes, int]:
  """Returns the bytes to pack for an image, and the number of bytes that it has in its source (0: it is no file there).

  A file whose shorter side is larger than `shorter_side` is resized: to an upright JPEG if it has 8 bits, 1 or 3 channels and
  sides that a JPEG can have, otherwise lossless. Other files keep their bytes, as all do with 0. Images that are not files are
  lossless. Raises DecodeError or UnsupportedImage, also for files that keep their bytes.
  """
  data, decoder, name = source.encoded(index), decoder_of(source), source.describe(index)
  if data is None:
    stored = source.stored(index)
    image = _upright(stored, decoder, name)
    return lossless(stored.pixels if image is None else _smaller(image, shorter_side)), 0
  if size := dataclasses.replace(decoder, channels=3).jpeg_size(data):
    kept = not 0 < shorter_side < min(size)
    channels = 1 if _is_gray(data) else 3
    spare = 1 if kept else min(size) / (_LARGER * shorter_side)
    image = dataclasses.replace(decoder, channels=channels, bit_depth=8).decode(data, name, spare)
    return data if kept else _encoded(_smaller(image, shorter_side, size), quality), len(data)
  stored = decoder.stored(data, name)
  image = _upright(stored, decoder, name) if 0 < shorter_side < min(stored.pixels.shape[:2]) else None
  if image is None:
    return data, len(data)
  return _encoded(_smaller(image, shorter_side), quality), len(data)


def lossless(image: np.ndarray) -> bytes:
  """Encodes [h, w, c] of integers: as PNG if it has 8 bits and 1 or 3 channels, otherwise as .npy."""
  file = io.BytesIO()
  if _is_plain(image):
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(file, "PNG")
  else:
    np.save(file, np.ascontiguousarray(image), allow_pickle=False)
  return file.getvalue()


def _is_gray(data: bytes) -> bool:
  """Returns whether a JPEG is gray; False if its header is damaged or unusual, which matters when it is decoded."""
  try:
    return simplejpeg.decode_jpeg_header(data)[2] == "Gray"
  except ValueError:
    return False


def _is_plain(image: np.ndarray) -> bool:
  return image.dtype == np.uint8 and image.shape[2] in (1, 3)


def _upright(stored: Stored, decoder: Decoder, name: str) -> np.ndarray | None:
  """Returns upright pixels, uint8 or uint16; None if only their file states what their values mean."""
  pixels = stored.pixels
  if pixels.dtype != np.uint8:
    if stored.declared or stored.zero_is_white or pixels.min() < 0 or pixels.max() > 65535:
      return None
    pixels = pixels.astype(np.uint16)
  exact = dataclasses.replace(decoder, channels=pixels.shape[2], bit_depth=8 * pixels.dtype.itemsize)
  return exact.convert(stored._replace(pixels=pixels), name)


def _smaller(image: np.ndarray, shorter_side: int, size: tuple[int, int] | None = None) -> np.ndarray:
  """Resizes [h, w, c] to a shorter side; unchanged if that is 0 or not smaller. `size`: height and width before decoding."""
  height, width = size or image.shape[:2]
  least = min(height, width)
  if not 0 < shorter_side < least:
    return image
  height, width = (max(round(side * shorter_side / least), 1) for side in (height, width))
  if not _is_plain(image):
    return resize(image, height, width)
  out = np.empty((height, width, image.shape[2]), np.uint8)
  resample(image, out, "bicubic")
  return out


def _encoded(image: np.ndarray, quality: int) -> bytes:
  """Encodes [h, w, c] of integers: as JPEG if one can hold them, otherwise lossless."""
  if not _is_plain(image) or max(image.shape) > _LONGEST:
    return lossless(image)
  colors = "GRAY" if image.shape[2] == 1 else "RGB"
  return simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality, colors, "420")
