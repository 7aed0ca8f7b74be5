"""One pass over all images: each file is read and decoded once."""

import collections
import dataclasses
import hashlib
import io
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxssl.core.errors import one_line
from jaxssl.core.log import image_progress
from jaxssl.data.array_files import NPY, TIFF
from jaxssl.data.folder import FolderSource
from jaxssl.data.image_io import FORMATS, DecodeError, WrongChannels, decode, dtype_of, viewable
from jaxssl.inspect.duplicates import fingerprint

GRID = 64  # colors are measured on at most GRID x GRID pixels of an image, evenly spaced
GRAY = 4  # levels by which the channels of a gray image may differ, because of JPEG's rounding
_CHUNK = 1024  # files submitted at a time, so that an interrupt takes effect soon
_CHANNELS = {"gray": 1, "palette": 1, "color": 3, "CMYK": 4}
_PHOTOMETRICS = {0: "gray", 1: "gray", 2: "color", 3: "palette", 5: "CMYK", 6: "color"}  # of TIFF


class Header(NamedTuple):
  """What a file's header states. `channels` and `bits` per channel are those of the file; 0 if unknown."""

  kind: str = "unknown format"
  color: str = "unknown colors"
  channels: int = 0
  bits: int = 0
  pages: int = 1

  def __str__(self) -> str:
    return f"{self.kind}, {self.color}, {self.bits} bit" if self.bits else self.kind


@dataclasses.dataclass(frozen=True, slots=True)
class ImageStats:
  """Statistics of a readable image. `moments`: the means of each channel and of its square, float64 [2, c], in 0..1."""

  header: Header
  height: int
  width: int
  size: int  # bytes of the file
  digest: bytes  # of the pixels
  fingerprint: np.ndarray
  moments: np.ndarray
  gray: bool  # judged by the pixels, not by the header


@dataclasses.dataclass(frozen=True, slots=True)
class ScannedFile:
  """A file of a split. `stats` is None for an unusable file, with the `reason`."""

  split: str
  index: int
  name: str  # full name
  stats: ImageStats | None
  reason: str = ""


def scan(sources: Mapping[str, FolderSource], channels: int = 0, depth: int = 0) -> list[ScannedFile]:
  """Scans every image of every split, with as many threads as cores.

  `channels`, `depth`: expected of all images; 0: those of each file. Images whose channels then differ from most are unusable.
  """

  def scan_file(place: tuple[str, int]) -> ScannedFile:
    split, index = place
    name = sources[split].describe(index)
    try:
      return ScannedFile(split, index, name, image_stats(sources[split].encoded(index), name, channels, depth))
    except (DecodeError, WrongChannels) as error:
      reason = str(error).removeprefix(one_line(name)).removeprefix(": ")
      return ScannedFile(split, index, name, None, " ".join(reason.split()))

  places = [(split, index) for split, source in sources.items() for index in range(len(source))]
  files: list[ScannedFile] = []
  progress = image_progress(len(places))
  with ThreadPoolExecutor(os.cpu_count()) as pool:
    for start in range(0, len(places), _CHUNK):
      for file in pool.map(scan_file, places[start : start + _CHUNK]):
        files.append(file)
        progress.update()
  progress.close()
  return _reject_mixed(files)


def _reject_mixed(files: list[ScannedFile]) -> list[ScannedFile]:
  """Marks images as unusable whose number of channels differs from that of most."""
  counts = collections.Counter(file.stats.moments.shape[1] for file in files if file.stats)
  for most_common, _ in counts.most_common(1):
    for place, file in enumerate(files):
      if file.stats and file.stats.moments.shape[1] != most_common:
        reason = f"{file.stats.moments.shape[1]} channels; most images have {most_common}"
        files[place] = dataclasses.replace(file, stats=None, reason=reason)
  return files


def image_stats(data: bytes, name: str, channels: int = 0, depth: int = 0) -> ImageStats:
  """Decodes a file's bytes as training does. Raises DecodeError, whose message begins with `name`, or WrongChannels."""
  header = read_header(data)
  dtype = dtype_of(depth or (16 if header.bits == 16 else 8))
  multichannel = header.color.endswith(" channels")  # channels that are neither colors nor transparency
  try:
    image = decode(data, channels or (header.channels if multichannel else 3), name, dtype)
  except DecodeError as error:
    raise DecodeError(f"{error} ({header})" if header.bits else str(error)) from error
  height, width, channels = image.shape
  pixels = image[:: -(-height // GRID), :: -(-width // GRID)].reshape(-1, channels) / np.iinfo(dtype).max
  return ImageStats(
    header=header,
    height=height,
    width=width,
    size=len(data),
    digest=hashlib.blake2b(repr(image.shape).encode() + image.tobytes(), digest_size=16).digest(),
    fingerprint=fingerprint(viewable(image)),
    moments=np.stack([pixels.mean(axis=0), (pixels**2).mean(axis=0)]),
    gray=channels in (1, 3) and bool(np.ptp(pixels, axis=1).max() <= GRAY / 255),
  )


def read_header(data: bytes) -> Header:
  """Reads the header of a file's bytes; never raises."""
  try:
    if data.startswith(TIFF):
      return _tiff(data)
    if data.startswith(NPY):
      return _npy(data)
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
      mode, bands, kind = image.mode, image.getbands(), image.format or "unknown format"
  except Exception:  # decoding reports what is wrong
    return Header()
  bits = data[24] if kind == "PNG" else 1 if mode == "1" else 16 if mode.startswith("I") else 8
  colors = len(bands) - ("A" in bands)
  color = "palette" if "P" in bands else {1: "gray", 3: "color", 4: "CMYK"}.get(colors, mode)
  if "A" in bands or (kind == "PNG" and mode == "RGB" and bits == 8 and b"tRNS" in data[:4096]):
    return Header(kind, f"{color} with alpha", colors + 1, bits)
  return Header(kind, color, colors, bits)


def _tiff(data: bytes) -> Header:
  import tifffile

  with tifffile.TiffFile(io.BytesIO(data)) as file:
    page, pages = file.pages.first, len(file.pages)
  color, samples = _PHOTOMETRICS.get(page.photometric, "unknown colors"), page.samplesperpixel
  extra = samples - _CHANNELS.get(color, 0)
  if extra:
    color = f"{color} with alpha" if extra == 1 and color in ("gray", "color") else f"{samples} channels"
  return Header("TIFF", color, samples, page.bitspersample, pages)


def _npy(data: bytes) -> Header:
  array = np.load(io.BytesIO(data), allow_pickle=False)
  channels = array.shape[2] if array.ndim == 3 else 1
  return Header("NPY", {1: "gray", 3: "color"}.get(channels, f"{channels} channels"), channels, 8 * array.itemsize)
