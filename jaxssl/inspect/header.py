"""What an image's file says of itself, before anything is decoded: format, color, channels, bits."""

import io
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, TiffImagePlugin

from jaxssl.data.image_io import FORMATS

_COLORS = {"1": "gray", "L": "gray", "LA": "gray with alpha", "P": "palette", "PA": "palette", "RGB": "color"}
_COLORS |= {"YCbCr": "color", "LAB": "color", "HSV": "color", "RGBA": "color with alpha", "CMYK": "CMYK", "F": "gray"}
_CHANNELS = {"gray": 1, "palette": 1, "gray with alpha": 2, "color": 3, "color with alpha": 4, "CMYK": 4}
_MOST_PAGES = 1000  # counted: a damaged file may go on for ever
_BITS, _SAMPLES, _PHOTOMETRIC = 258, 277, 262  # tags of a TIFF
_PHOTOMETRICS = {0: "gray", 1: "gray", 2: "color", 3: "palette", 5: "CMYK", 6: "color"}


class Header(NamedTuple):
  """`channels` and `bits` a channel are the file's, whatever is read from it; 0 where it does not say."""

  kind: str = "unknown format"
  color: str = "unknown colors"
  channels: int = 0
  bits: int = 0
  pages: int = 1

  @property
  def many(self) -> bool:
    """Whether the channels are neither a photograph's nor its transparency."""
    return self.color.endswith(" channels")

  def __str__(self) -> str:
    return f"{self.kind}, {self.color}, {self.bits} bit" if self.bits else self.kind


def header(data: bytes) -> Header:
  """Reads the header of a file's bytes; never raises."""
  try:
    if data[:4] in (b"II*\0", b"MM\0*"):
      return _tiff(data)
    if data[:6] == b"\x93NUMPY":
      return _npy(data)
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
      mode, kind = image.mode, image.format or "unknown format"
  except Exception:  # whatever is wrong with it will be told by what decodes it
    return Header()
  color = "gray" if mode.startswith("I") else _COLORS.get(mode, mode)
  bits = 1 if mode == "1" else 16 if mode.startswith("I") else 8
  if kind == "PNG":
    bits = data[24]
    if color == "color" and bits == 8 and b"tRNS" in data[:4096]:
      color = "color with alpha"
  return Header(kind, color, _CHANNELS.get(color, 0), bits)


def _tiff(data: bytes) -> Header:
  """From the tags, since PIL opens few TIFFs of many channels."""
  tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
  file = io.BytesIO(data)
  file.seek(tags.next)
  tags.load(file)
  number: dict[int, Any] = dict(tags)
  samples, bits = int(number.get(_SAMPLES, 1)), max(np.atleast_1d(number.get(_BITS, 1)))
  color = _PHOTOMETRICS.get(number.get(_PHOTOMETRIC, 1), "unknown colors")
  extra = samples - _CHANNELS.get(color, samples)
  color = f"{color} with alpha" if extra == 1 and color in ("gray", "color") else color
  pages, following = 1, tags.next
  while following and pages < _MOST_PAGES:
    pages += 1
    file.seek(following)
    tags.load(file)
    following = tags.next
  color = color if samples == _CHANNELS.get(color) else f"{samples} channels"
  return Header("TIFF", color, samples, int(bits), pages)


def _npy(data: bytes) -> Header:
  file = io.BytesIO(data)
  version = np.lib.format.read_magic(file)
  read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
  shape, _, dtype = read(file)
  channels = shape[2] if len(shape) == 3 else 1
  return Header("NPY", {1: "gray", 3: "color"}.get(channels, f"{channels} channels"), channels, 8 * dtype.itemsize)
