"""A fast path for ordinary JPEGs, which can be decoded at a reduced size; PIL handles all others."""

import math

import numpy as np
import simplejpeg
from PIL import ExifTags, Image

_APP1, _SCAN = 0xE1, 0xDA  # markers: of the EXIF segment, and of the start of the pixels
_MODES = ("Gray", "YCbCr", "RGB")
_MAX_PIXELS = 150_000_000  # PIL warns about larger images and refuses huge ones


def jpeg_size(data: bytes) -> tuple[int, int] | None:
  """Returns height and width of a JPEG that `decode_jpeg` accepts (gray or color, upright, not huge), else None."""
  if data[:3] != b"\xff\xd8\xff" or _exif_orientation(data) != 1:
    return None
  try:
    *size, mode, _ = simplejpeg.decode_jpeg_header(data)
  except ValueError:  # damaged or of a rare kind: PIL decides
    return None
  height, width = (int(side) for side in size)
  return (height, width) if mode in _MODES and height * width < _MAX_PIXELS else None


def decode_jpeg(data: bytes, channels: int, size: tuple[int, int], spare: float = 1) -> np.ndarray | None:
  """Decodes a JPEG of `size` to uint8 [h, w, channels], channels 1 or 3; returns None if the file is damaged.

  With `spare` 2 or more, the decoder reduces the sides by the largest factor it supports up to `spare`.
  """
  height, width = (math.ceil(side / max(spare, 1)) for side in size)
  try:
    colors = "GRAY" if channels == 1 else "RGB"
    return simplejpeg.decode_jpeg(data, colors, min_height=height, min_width=width, min_factor=2)
  except ValueError:
    return None


def _exif_orientation(data: bytes) -> int:
  """Returns the EXIF orientation; 1 (upright) if there is none before the pixels or it is unreadable."""
  at = 2
  while len(data) > at + 3 and data[at] == 0xFF and data[at + 1] != _SCAN:
    length = int.from_bytes(data[at + 2 : at + 4], "big")
    if data[at + 1] == _APP1 and data[at + 4 : at + 10] == b"Exif\0\0":
      try:
        exif = Image.Exif()
        exif.load(data[at + 4 : at + 2 + length])
        return exif.get(ExifTags.Base.Orientation, 1)
      except Exception:  # damaged EXIF data does not make the image unreadable
        return 1
    at += 2 + length
  return 1
