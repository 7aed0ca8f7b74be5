"""JPEG decoded by libjpeg-turbo itself: in two thirds of PIL's time, and smaller where less will do."""

import math

import numpy as np
import simplejpeg
from PIL import ExifTags, Image

_APP1, _SCAN = 0xE1, 0xDA  # markers: of what EXIF data stand in, and of where the pixels begin
_MODES = ("Gray", "YCbCr", "RGB")
_MOST = 150_000_000  # pixels; PIL warns of larger pictures and refuses huge ones


def plain_size(data: bytes) -> tuple[int, int] | None:
  """Height and width of a JPEG that `decode_plain` can take: grey or colour, not huge, upright; None for anything else."""
  if data[:3] != b"\xff\xd8\xff" or _orientation(data) != 1:
    return None
  try:
    *size, mode, _ = simplejpeg.decode_jpeg_header(data)
  except ValueError:  # damaged, or of a rare kind: PIL will say
    return None
  height, width = (int(side) for side in size)
  return (height, width) if mode in _MODES and height * width < _MOST else None


def decode_plain(data: bytes, channels: int, size: tuple[int, int], spare: float = 1) -> np.ndarray | None:
  """Decodes a JPEG of `size`: uint8 [h, w, channels]; None where the file is not whole or anything else is wrong with it.

  Where `spare` is 2 or more, the decoder shrinks the picture by as much as it can up to that factor.
  """
  height, width = (math.ceil(side / max(spare, 1)) for side in size)
  try:
    colors = "GRAY" if channels == 1 else "RGB"
    return simplejpeg.decode_jpeg(data, colors, min_height=height, min_width=width, min_factor=2)
  except ValueError:
    return None


def _orientation(data: bytes) -> int:
  """EXIF orientation, 1 (upright) where none is given before the pixels or it cannot be read."""
  at = 2
  while len(data) > at + 3 and data[at] == 0xFF and data[at + 1] != _SCAN:
    length = int.from_bytes(data[at + 2 : at + 4], "big")
    if data[at + 1] == _APP1 and data[at + 4 : at + 10] == b"Exif\0\0":
      try:
        exif = Image.Exif()
        exif.load(data[at + 4 : at + 2 + length])
        return exif.get(ExifTags.Base.Orientation, 1)
      except Exception:  # damaged EXIF data says nothing about the picture itself
        return 1
    at += 2 + length
  return 1
