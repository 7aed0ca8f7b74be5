"""One pass over all images: each file is read and decoded once."""

import contextlib
import dataclasses
import hashlib
import io
import statistics
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxssl.core import image_progress, one_line
from jaxssl.data.file_kinds import FORMATS, NPY, TIFF, DecodeError, UnsupportedImage
from jaxssl.data.folder import FolderSource
from jaxssl.data.image_io import Decoder, viewable
from jaxssl.data.read_ahead import read_ahead
from jaxssl.inspect.duplicates import fingerprints

GRID = 64  # colors are measured on at most GRID x GRID pixels of an image, evenly spaced
GRAY = 4  # levels by which the channels of a gray image may differ, because of JPEG's rounding
_AHEAD = 1024  # files submitted at a time, so that an interrupt takes effect soon
_CHANNELS = {"gray": 1, "palette": 1, "color": 3, "CMYK": 4}
_PHOTOMETRICS = {0: "gray", 1: "gray", 2: "color", 3: "palette", 5: "CMYK", 6: "color", 8: "color"}  # of TIFF


class Header(NamedTuple):
  """What a file's header states. `channels` and `bits` per channel are those of the file; 0 if unknown."""

  kind: str = "unknown format"
  color: str = "unknown colors"
  channels: int = 0
  bits: int = 0
  pages: int = 1

  @property
  def wanted(self) -> int:
    """Channels to read: those of the file if they are neither colors nor transparency, else 3."""
    return self.channels if self.color.endswith(" channels") else 3


_HEADERS: dict[Header, Header] = {}  # one object for all equal ones


@dataclasses.dataclass(frozen=True, slots=True)
class ImageStats:
  """A readable image, in less than a kilobyte: a set may have millions. Arrays are bytes, which take less than NumPy's."""

  split: str
  index: int  # in the split
  name: str  # full name
  header: Header
  height: int
  width: int
  channels: int  # as decoded
  size: int  # bytes of the file
  digest: bytes  # of the pixels
  fingerprints: bytes  # float16 [2, 64]
  moments: bytes  # float64 [2, c], the means of each channel and of its square, in 0..1
  gray: bool  # judged by the pixels, not by the header


class Unusable(NamedTuple):
  """A file that cannot be decoded, or whose channels differ from those of most images."""

  split: str
  name: str  # full name
  reason: str


def scan(sources: Mapping[str, FolderSource], decoder: Decoder) -> tuple[list[ImageStats], list[Unusable]]:
  """Scans every image of every split, with as many threads as cores; returns the usable images and the other files.

  `decoder.channels`: of all images; 0: those of each file, and images whose channels then differ from most are unusable.
  """

  def scan_file(place: tuple[str, int]) -> ImageStats | Unusable:
    split, index = place
    name = sources[split].describe(index)
    try:
      return image_stats(sources[split].encoded(index), name, decoder, split, index)
    except (DecodeError, UnsupportedImage) as error:
      reason = str(error).removeprefix(one_line(name)).removeprefix(": ")
      return Unusable(split, name, " ".join(reason.split()))

  places = ((split, index) for split, source in sources.items() for index in range(len(source)))
  files = []
  with (
    image_progress(sum(map(len, sources.values()))) as progress,
    contextlib.closing(read_ahead(scan_file, places, 0, _AHEAD)) as scanned,
  ):
    for file in scanned:
      files.append(file)
      progress.update()
  most_common = statistics.mode([file.channels for file in files if isinstance(file, ImageStats)] or [0])
  for k, file in enumerate(files):
    if isinstance(file, ImageStats) and file.channels != most_common:
      files[k] = Unusable(file.split, file.name, f"{file.channels} channels; most images have {most_common}")
  return [file for file in files if isinstance(file, ImageStats)], [file for file in files if isinstance(file, Unusable)]


def image_stats(data: bytes, name: str, decoder: Decoder, split: str = "", index: int = 0) -> ImageStats:
  """Decodes a file's bytes as training does. Raises DecodeError or UnsupportedImage, whose messages begin with `name`."""
  header = read_header(data)
  decoder = decoder if decoder.channels else dataclasses.replace(decoder, channels=header.wanted)
  try:
    image = decoder.decode(data, name)
  except (DecodeError, UnsupportedImage) as error:
    kind = f" ({header.kind}, {header.color}, {header.bits} bit)" if header.bits else ""
    raise type(error)(f"{error}{kind}") from error
  height, width, channels = image.shape
  pixels = image[:: -(-height // GRID), :: -(-width // GRID)].reshape(-1, channels) / np.iinfo(image.dtype).max
  return ImageStats(
    split=split,
    index=index,
    name=name,
    header=_HEADERS.setdefault(header, header),
    height=height,
    width=width,
    channels=channels,
    size=len(data),
    digest=hashlib.blake2b(repr(image.shape).encode() + image.tobytes(), digest_size=16).digest(),
    fingerprints=fingerprints(viewable(image)).tobytes(),
    moments=np.stack([pixels.mean(axis=0), (pixels**2).mean(axis=0)]).tobytes(),
    gray=channels in (1, 3) and bool(np.ptp(pixels, axis=1).max() <= GRAY / 255),
  )


def read_again(sources: Mapping[str, FolderSource], image: ImageStats, decoder: Decoder, least: int) -> np.ndarray:
  """Decodes a scanned image again, for display: uint8 [h, w, 3], possibly reduced to shorter sides of `least` or more.

  Raises DecodeError or UnsupportedImage.
  """
  data, spare = sources[image.split].encoded(image.index), min(image.height, image.width) / least
  return viewable(dataclasses.replace(decoder, channels=image.channels).decode(data, image.name, max(spare, 1)))


def read_header(data: bytes) -> Header:
  """Reads the header of a file's bytes; never raises."""
  try:
    if data.startswith(TIFF):
      return _tiff(data)
    if data.startswith(NPY):
      array = np.load(io.BytesIO(data), allow_pickle=False)
      channels = array.shape[2] if array.ndim == 3 else 1
      return Header("NPY", {1: "gray", 3: "color"}.get(channels, f"{channels} channels"), channels, 8 * array.itemsize)
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
      mode, bands, kind, alpha = image.mode, image.getbands(), image.format or "unknown format", image.has_transparency_data
  except Exception:  # decoding reports what is wrong
    return Header()
  bits = data[24] if kind == "PNG" else 1 if mode == "1" else 16 if mode.startswith("I") else 8
  colors = len(bands) - ("A" in bands)
  color = "palette" if "P" in bands else {1: "gray", 3: "color", 4: "CMYK"}.get(colors, mode)
  return Header(kind, f"{color} with alpha" if alpha else color, colors + alpha, bits)


def _tiff(data: bytes) -> Header:
  import tifffile

  with tifffile.TiffFile(io.BytesIO(data)) as file:
    page, pages = file.pages.first, len(file.pages)
  color, samples = _PHOTOMETRICS.get(page.photometric, "unknown colors"), page.samplesperpixel
  extra = samples - _CHANNELS.get(color, 0)
  if extra:
    color = f"{color} with alpha" if extra == 1 and color in ("gray", "color") else f"{samples} channels"
  return Header("TIFF", color, samples, page.bitspersample, pages)
