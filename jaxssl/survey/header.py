"""What a picture's file says of itself, before anything is decoded: format, colour, channels, bits."""

import io
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, TiffImagePlugin

from jaxssl.data.pictures import FORMATS

_COLOURS = {"1": "grey", "L": "grey", "LA": "grey with alpha", "P": "palette", "PA": "palette", "RGB": "colour"}
_COLOURS |= {"YCbCr": "colour", "LAB": "colour", "HSV": "colour", "RGBA": "colour with alpha", "CMYK": "CMYK", "F": "grey"}
_CHANNELS = {"grey": 1, "palette": 1, "grey with alpha": 2, "colour": 3, "colour with alpha": 4, "CMYK": 4}
_MOST_PAGES = 1000  # counted: a damaged file may go on for ever
_BITS, _SAMPLES, _PHOTOMETRIC = 258, 277, 262  # tags of a TIFF
_PHOTOMETRICS = {0: "grey", 1: "grey", 2: "colour", 3: "palette", 5: "CMYK", 6: "colour"}


class Header(NamedTuple):
  """`channels` and `bits` a channel are the file's, whatever is read from it; 0 where it does not say."""

  kind: str = "unknown format"
  colour: str = "unknown colours"
  channels: int = 0
  bits: int = 0
  pages: int = 1

  @property
  def many(self) -> bool:
    """Whether the channels are neither a photograph's nor its transparency."""
    return self.colour.endswith(" channels")

  def __str__(self) -> str:
    return f"{self.kind}, {self.colour}, {self.bits} bit" if self.bits else self.kind


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
  colour = "grey" if mode.startswith("I") else _COLOURS.get(mode, mode)
  bits = 1 if mode == "1" else 16 if mode.startswith("I") else 8
  if kind == "PNG":
    bits = data[24]
    if colour == "colour" and bits == 8 and b"tRNS" in data[:4096]:
      colour = "colour with alpha"
  return Header(kind, colour, _CHANNELS.get(colour, 0), bits)


def _tiff(data: bytes) -> Header:
  """From the tags, since PIL opens few TIFFs of many channels."""
  tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
  file = io.BytesIO(data)
  file.seek(tags.next)
  tags.load(file)
  number: dict[int, Any] = dict(tags)
  samples, bits = int(number.get(_SAMPLES, 1)), max(np.atleast_1d(number.get(_BITS, 1)))
  colour = _PHOTOMETRICS.get(number.get(_PHOTOMETRIC, 1), "unknown colours")
  extra = samples - _CHANNELS.get(colour, samples)
  colour = f"{colour} with alpha" if extra == 1 and colour in ("grey", "colour") else colour
  pages, following = 1, tags.next
  while following and pages < _MOST_PAGES:
    pages += 1
    file.seek(following)
    tags.load(file)
    following = tags.next
  colour = colour if samples == _CHANNELS.get(colour) else f"{samples} channels"
  return Header("TIFF", colour, samples, int(bits), pages)


def _npy(data: bytes) -> Header:
  file = io.BytesIO(data)
  version = np.lib.format.read_magic(file)
  read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
  shape, _, dtype = read(file)
  channels = shape[2] if len(shape) == 3 else 1
  return Header("NPY", {1: "grey", 3: "colour"}.get(channels, f"{channels} channels"), channels, 8 * dtype.itemsize)
