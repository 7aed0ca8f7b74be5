"""One pass over all images: each file is read and decoded once, and what is worth knowing of it is kept."""

import collections
import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from jaxssl.core.errors import one_line
from jaxssl.core.progress import ImageProgress
from jaxssl.data.folder import FolderSource
from jaxssl.data.image_io import DecodeError, WrongChannels, decode, dtype_of, viewable
from jaxssl.inspect.duplicates import fingerprint
from jaxssl.inspect.header import Header, header

GRID = 64  # pixels a side that colors are measured at, evenly spaced
GRAY = 4  # levels that the channels of a gray image may lie apart, since JPEG rounds
_CHUNK = 1024


@dataclasses.dataclass(frozen=True, slots=True)
class ImageStats:
  """An image that could be read. `mean`, `square`: of each channel and of its square, float64 [c], in 0..1."""

  header: Header
  height: int
  width: int
  size: int  # bytes of the file
  digest: bytes  # of the pixels
  fingerprint: np.ndarray
  mean: np.ndarray
  square: np.ndarray
  gray: bool  # whatever the file calls itself


@dataclasses.dataclass(frozen=True, slots=True)
class ScannedFile:
  """A file: the split and the place there, its full name, and the image; None and `why` where it cannot be used."""

  split: str
  index: int
  name: str
  seen: ImageStats | None
  why: str = ""
  odd: bool = False  # it can be read, but has another number of channels than most

  def listable(self, root: str) -> bool:
    """Whether a file of names below `root`, one a line, can hold its name."""
    return not {"\n", "\r"} & set(self.name.removeprefix(root))


def scan(sources: Mapping[str, FolderSource], channels: int = 0, depth: int = 0) -> list[ScannedFile]:
  """Looks at every image of every split, with as many threads as there are cores.

  `channels`, `depth`: what images are to have; 0: what each file has. Those of other channels than most are `odd` then.
  """
  places = [(split, index) for split, source in sources.items() for index in range(len(source))]

  def find(place: tuple[str, int]) -> ScannedFile:
    split, index = place
    return _find(sources[split], split, index, channels, depth)

  found: list[ScannedFile] = []
  progress = ImageProgress(len(places))
  pool = ThreadPoolExecutor(os.cpu_count())
  try:
    for start in range(0, len(places), _CHUNK):
      for one in pool.map(find, places[start : start + _CHUNK]):
        found.append(one)
        progress.add(1)
  finally:
    pool.shutdown(cancel_futures=True)
    progress.close()
  return _agreeing(found)


def look(data: bytes, name: str, channels: int = 0, depth: int = 0) -> ImageStats:
  """Decodes a file's bytes as training does. Raises BadImage, whose message begins with `name`, or WrongChannels."""
  says = header(data)
  kind = dtype_of(depth or (16 if says.bits == 16 else 8))
  try:
    image = decode(data, channels or (says.channels if says.many else 3), name, kind)
  except DecodeError as error:
    raise DecodeError(f"{error} ({says})" if says.bits else str(error)) from error
  height, width, many = image.shape
  some = image[:: -(-height // GRID), :: -(-width // GRID)].reshape(-1, many) / np.iinfo(kind).max
  digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
  digest.update(image.tobytes())
  return ImageStats(
    header=says,
    height=height,
    width=width,
    size=len(data),
    digest=digest.digest(),
    fingerprint=fingerprint(viewable(image)),
    mean=some.mean(axis=0),
    square=(some**2).mean(axis=0),
    gray=many in (1, 3) and bool(np.ptp(some, axis=1).max() <= GRAY / 255),
  )


def _agreeing(found: Sequence[ScannedFile]) -> list[ScannedFile]:
  """Counts images as unusable that have another number of channels than most have."""
  numbers = collections.Counter(len(one.seen.mean) for one in found if one.seen).most_common()
  if len(numbers) < 2:
    return list(found)
  most, agreed = numbers[0][0], []
  for one in found:
    if one.seen and (number := len(one.seen.mean)) != most:
      one = dataclasses.replace(one, seen=None, why=f"{number} channels, where most images have {most}", odd=True)
    agreed.append(one)
  return agreed


def _find(source: FolderSource, split: str, index: int, channels: int, depth: int) -> ScannedFile:
  name = source.describe(index)
  try:
    return ScannedFile(split, index, name, look(source.encoded(index), name, channels, depth))
  except (DecodeError, WrongChannels) as error:
    return ScannedFile(split, index, name, None, " ".join(str(error).removeprefix(one_line(name)).removeprefix(": ").split()))
