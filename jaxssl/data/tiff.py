"""Reads TIFF files of any number of channels and bits. Ordinary 8-bit images among them are left to Pillow."""

import io
import logging
import math
from typing import Any

import numpy as np
from PIL import Image

from jaxssl.data.file_kinds import Stored, UnsupportedImage, WrongChannels, check_size

GRAY, RGB = (0, 1), 2  # photometric interpretations; 0: zero is white
_COLORS = {**dict.fromkeys(GRAY, 1), RGB: 3, 3: 1, 5: 4, 6: 3, 8: 3}  # 3: palette, 5: CMYK, 6: YCbCr, 8: CIELAB
_TRANSPARENT = ((1,), (2,))  # extra samples: associated or unassociated alpha
_ORIENTATION, _MAXIMA = 274, (341, 281)  # tags: SMaxSampleValue, MaxSampleValue
_OF_MAPS = (33550, 33922, 34264, 34735, 42112)  # tags of georeferenced images, and of GDAL, which tags any fourth band as alpha
# Damage is reported by the error of the image, and tags that do not matter are not
logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)


def read(data: bytes, channels: int, max_pixels: int) -> Stored | None:
  """Reads a TIFF. Returns None for an ordinary 8-bit image that is wanted in color or gray: Pillow reads those.

  With `channels` 1 or 3, the first page is read, and its samples are the channels, unless metadata of ImageJ or OME states that
  the pages are channels. Otherwise the channels are the samples or the pages of the first series. Raises UnsupportedImage, and
  almost any type for a damaged file.
  """
  import tifffile

  with tifffile.TiffFile(io.BytesIO(data)) as file:
    if not len(file.pages):
      raise ValueError("a TIFF without pages")
    page: Any = file.pages.first
    check_size(page.imagelength, page.imagewidth, page.samplesperpixel, max_pixels)
    whole = channels not in (1, 3) or _has_channels(file, channels)
    if not whole:
      if _is_ordinary(page):
        return None
      _check_kind(page, channels)
    part = file.series[0] if whole else page
    if part.dtype is None or np.dtype(part.dtype).kind not in "ui":
      kind = "floating-point" if getattr(part.dtype, "kind", "") in "fc" else f"{part.dtype or 'unknown'}"
      raise UnsupportedImage(f"{kind} pixels; scale them to integers, uint8 or uint16")
    height, width = page.imagelength, page.imagewidth
    check_size(height, width, math.prod(part.shape) // max(height * width, 1), max_pixels)
    orientation = page.tags.valueof(_ORIENTATION, 1)
    pages = 1 if whole else max(len(file.pages), math.prod(file.series[0].shape) // max(math.prod(page.shape), 1))
    facts = {"declared": _declared_bits(page), "zero_is_white": page.photometric == 0, "pages": pages}
    try:
      pixels = _rows_first(part.asarray(), part.axes)
    except Exception as error:  # of any type
      if "imagecodecs" not in str(error) and not isinstance(error, ImportError):
        raise
      return _without_codecs(data, page, part is page and orientation == 1)._replace(**facts)
  return Stored(pixels, orientation=orientation if orientation in range(1, 9) else 1, **facts)


def _has_channels(file: Any, channels: int) -> bool:
  """Returns whether metadata states that the pages are channels. Raises WrongChannels unless there are `channels` of them."""
  if not (file.is_imagej or file.is_ome):
    return False
  series = file.series[0]
  count = series.shape[series.axes.index("C")] if "C" in series.axes else 1
  if count not in (1, channels):
    raise WrongChannels(f"has {count} channels, one per page, but data.channels={channels}; data.channels={count} reads them")
  return count > 1


def has_damaged_tags(data: bytes) -> bool:
  """Returns whether tags of the first page cannot be read, such as those that refer to bytes behind the end."""
  import tifffile

  with tifffile.TiffFile(io.BytesIO(data)) as file:
    page, size = file.pages.first, file.tiff.tagnosize
    count = int.from_bytes(data[page.offset : page.offset + size], "little" if file.byteorder == "<" else "big")
    return len(page.tags) < count


def _is_ordinary(page: Any) -> bool:
  """Returns whether a page has up to 8 bits in channels of a known meaning, or these and transparency of gray or RGB."""
  extras = tuple(map(int, page.extrasamples))
  colors = page.samplesperpixel - len(extras)
  if extras and any(tag in page.tags for tag in _OF_MAPS):
    return False
  known = colors == _COLORS.get(page.photometric) and (not extras or (extras in _TRANSPARENT and page.photometric in (1, RGB)))
  return known and page.bitspersample <= 8 and page.sampleformat == 1


def _check_kind(page: Any, channels: int) -> None:
  """Raises UnsupportedImage unless the samples of a page, which is not ordinary, are gray, RGB or `channels` bands."""
  samples, bits = page.samplesperpixel, page.bitspersample
  if page.photometric in (*GRAY, RGB):
    if samples not in (1, channels) and (samples != 3 or page.photometric != RGB):
      remedy = f"data.channels={samples} reads them"
      raise WrongChannels(f"has {samples} channels of {bits} bits, but data.channels={channels}; {remedy}")
  else:
    name = getattr(page.photometric, "name", page.photometric)
    raise UnsupportedImage(f"a TIFF of {samples} x {bits} bits in {name} colors; convert it to RGB or grayscale")


def _declared_bits(page: Any) -> int:
  """Returns the bits per value that the metadata states, if they are fewer than the type has; else 0."""
  whole = 8 * np.dtype(page.dtype).itemsize
  if page.bitspersample < whole:
    return page.bitspersample
  for tag in _MAXIMA:
    values = np.atleast_1d(page.tags.valueof(tag, 0))
    if values.dtype.kind in "uif" and 0 < (largest := int(values.max())) < 2**whole - 1:
      return largest.bit_length()
  return 0


def _rows_first(array: np.ndarray, axes: str) -> np.ndarray:
  """Returns [h, w, c]; the axis that is neither rows nor columns holds the channels."""
  for i in reversed(range(array.ndim)):  # some versions of tifffile leave axes of length 1
    if array.shape[i] == 1 and axes[i] not in "YX":
      array, axes = array.squeeze(i), axes[:i] + axes[i + 1 :]
  if len(axes) not in (2, 3) or "Y" not in axes or "X" not in axes:
    problem = f"a TIFF of axes {axes}; expected rows (Y), columns (X), and at most one axis of channels"
    raise UnsupportedImage(problem)
  return np.atleast_3d(np.moveaxis(array, (axes.index("Y"), axes.index("X")), (0, 1)))


def _without_codecs(data: bytes, page: Any, upright_page: bool) -> Stored:
  """Reads one page whose compression tifffile does not decode by itself: gray by Pillow, 16-bit RGB by OpenCV."""
  if page.photometric in GRAY and page.samplesperpixel == 1 and upright_page:
    image = Image.open(io.BytesIO(data), formats=("TIFF",))
    return Stored(np.asarray(image)[..., None])
  if page.photometric == RGB and page.samplesperpixel == 3 and page.bitspersample == 16 and upright_page:
    from jaxssl.data.opencv import opencv

    pixels = opencv().imdecode(np.frombuffer(data, np.uint8), opencv().IMREAD_UNCHANGED)
    if pixels is not None and pixels.dtype == np.uint16 and pixels.shape[2:] == (3,):
      return Stored(pixels[..., ::-1])
  name = getattr(page.compression, "name", page.compression)
  raise UnsupportedImage(f"a TIFF with {name} compression of this kind of pixels needs pip install 'jaxssl[tiff]'")
