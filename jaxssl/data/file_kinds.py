"""The kinds of image files: their endings and first bytes, and the two errors of reading them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import features

from jaxssl.core import UserError

JPEG_ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif")
ENDINGS = (
  *JPEG_ENDINGS,
  *(".png", ".webp", ".gif", ".avif", ".tif", ".tiff", ".bmp", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".npy"),
)
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "PPM", "JPEG2000")  # of Pillow, by content and not by ending
EIGHT_BITS = (*JPEG_ENDINGS, ".webp", ".gif", ".avif", ".bmp", ".pbm")  # are read with 8 bits, whatever they hold
# How files begin. The last two of TIFF are BigTIFF; JPEG 2000 comes with and without a container.
JPEG, PNG, NPY = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"\x93NUMPY"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
JPEG_2000 = (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
# Images that no library here reads: position and bytes by which they are recognized
_OTHERS = {
  "HEIC": (4, (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1")),
  "AVIF": (4, (b"ftypavif", b"ftypavis")),  # Pillow can be built without it
  "JPEG XL": (0, (b"\xff\x0a", b"\0\0\0\x0cJXL ")),
  "Photoshop": (0, (b"8BPS",)),
  "OpenEXR": (0, (b"v/1\x01",)),
  "DICOM": (128, (b"DICM",)),
  "FITS": (0, (b"SIMPLE  =",)),
  "PDF": (0, (b"%PDF",)),
}
# Markers of a JPEG's frame, and the kinds that no library here reads
_FRAMES = {
  **dict.fromkeys((0xC0, 0xC1, 0xC2, 0xC9, 0xCA), ""),
  **dict.fromkeys((0xC3, 0xCB), "lossless JPEG"),
  **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical JPEG"),
  0xF7: "JPEG-LS",
}
_APP1 = 0xE1  # the segment of EXIF and XMP data
_CONTENTS = {
  b"version https://git-lfs": "a pointer of Git LFS, not the file itself: run git lfs pull",
  b"<!doctype html": "a web page",
  b"<html": "a web page",
  b"<?xml": "XML",
  b"<svg": "SVG",
  b"pk\x03\x04": "a zip",
  b"\x1f\x8b": "compressed by gzip",
}


class DecodeError(UserError):
  """A damaged file. The message names it and the reason. Counted and substituted."""


class UnsupportedImage(UserError):
  """An image that cannot be read as configured. The message names it and the remedy. Stops the run; never counts as damage."""


class WrongChannels(UnsupportedImage):
  """An image whose channels do not convert to `data.channels`: the whole set has others, or it is mixed."""


class Stored(NamedTuple):
  """An image as its file holds it. `pixels`: [h, w, c], uint8 of full range, or wider integers of a range to be decided."""

  pixels: np.ndarray
  declared: int = 0  # bits per value of a wider type, as the file's metadata states; 0: unknown
  zero_is_white: bool = False
  orientation: int = 1  # of EXIF; 1: upright
  pages: int = 1  # of a TIFF of which only the first is read


def check_size(height: int, width: int, channels: int, max_pixels: int) -> None:
  """Raises UnsupportedImage for more than `max_pixels` pixels of up to four channels, or as many values in more channels."""
  if height * width * max(channels, 4) > 4 * max_pixels:
    size = f"{width} x {height} pixels" + (f" of {channels} channels" if channels > 4 else "")
    raise UnsupportedImage(f"{size} are more than data.max_pixels={max_pixels}; raise it, or cut the image into tiles")


def check_array(shape: Sequence[int], dtype: np.dtype, max_pixels: int) -> None:
  """Raises UnsupportedImage unless an array is an image of up to `max_pixels` pixels: integers [h, w] or [h, w, c]."""
  if dtype.kind not in "ui":
    if dtype.kind not in "fcb":
      raise UnsupportedImage(f"{dtype} values, which are not pixels; expected integers, uint8 or uint16")
    hint = {"f": " (255 * x, rounded, if they are from 0 to 1)", "b": " (255 * x)"}.get(dtype.kind, "")
    raise UnsupportedImage(f"{dtype} pixels; scale them to integers, uint8 or uint16{hint}")
  if len(shape) not in (2, 3):
    raise UnsupportedImage(f"an array {list(shape)}; expected [h, w] or [h, w, c]")
  check_size(shape[0], shape[1], math.prod(shape[2:]), max_pixels)


def other_kind(data: bytes) -> str:
  """Names the format of a file that holds an image which cannot be read; empty if it does not seem to be an image."""
  if data.startswith(JPEG):
    return _other_jpeg(data)
  names = (name for name, (at, starts) in _OTHERS.items() if data[at : at + 12].startswith(starts))
  name = next(names, "")
  return "" if name == "AVIF" and features.check("avif") else name


def content(data: bytes) -> str:
  """Describes a file that is not an image, by its first bytes."""
  return next((name for start, name in _CONTENTS.items() if data.lstrip()[: len(start)].lower() == start), "")


def _other_jpeg(data: bytes) -> str:
  """Names the kind of a JPEG that is not read, by the header of its frame; empty for one that is read."""
  frame = jpeg_frame(data)
  return (_FRAMES[frame.marker] or (f"{frame.bits}-bit JPEG" if frame.bits > 8 else "")) if frame else ""


class JpegFrame(NamedTuple):
  """The header of a JPEG's frame. `tagged`: whether EXIF or XMP data before it may state an orientation."""

  marker: int
  bits: int
  height: int
  width: int
  components: int
  tagged: bool


def jpeg_frame(data: bytes) -> JpegFrame | None:
  """Finds the header of a JPEG's frame, ten times as fast as Pillow opens a file; None without one."""
  at, tagged = 2, False
  while at + 10 <= len(data):
    marker = data[at + 1]
    if data[at] != 0xFF or marker == 0xFF:  # a fill byte
      at += 1
    elif marker in _FRAMES:
      sides = int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
      return JpegFrame(marker, data[at + 4], *sides, data[at + 9], tagged)
    else:
      tagged |= marker == _APP1
      at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
  return None
