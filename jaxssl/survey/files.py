"""One pass over all pictures: each file is read and decoded once, and what is worth knowing of it is kept."""

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from jaxssl import logging as runlog
from jaxssl.data.folder import FolderSource
from jaxssl.data.pictures import BadPicture, decode
from jaxssl.survey.duplicates import fingerprint
from jaxssl.survey.header import Header, header

GRID = 64  # pixels a side that colours are measured at, evenly spaced
GREY = 4  # levels that the channels of a grey picture may lie apart, since JPEG rounds
_CHUNK = 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
  """A picture that could be read. `mean`, `square`: of each channel and of its square, float64 [3], in 0..1."""

  header: Header
  height: int
  width: int
  size: int  # bytes of the file
  digest: bytes  # of the pixels
  fingerprint: np.ndarray
  mean: np.ndarray
  square: np.ndarray
  grey: bool  # whatever the file calls itself


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
  """A file: the split and the place there, its full name, and the picture; None and `why` where it cannot be read."""

  split: str
  index: int
  name: str
  seen: Seen | None
  why: str = ""


def survey(sources: Mapping[str, FolderSource]) -> list[Found]:
  """Looks at every picture of every split, with as many threads as there are cores."""
  places = [(split, index) for split, source in sources.items() for index in range(len(source))]
  found: list[Found] = []
  progress = runlog.Pictures(len(places))
  pool = ThreadPoolExecutor(os.cpu_count())
  try:
    for start in range(0, len(places), _CHUNK):
      for one in pool.map(lambda place: _find(sources[place[0]], *place), places[start : start + _CHUNK]):
        found.append(one)
        progress.add(1)
  finally:
    pool.shutdown(cancel_futures=True)
    progress.close()
  return found


def look(data: bytes, name: str) -> Seen:
  """Decodes a file's bytes as training does. Raises BadPicture, whose message begins with `name`."""
  says = header(data)
  try:
    picture = decode(data, 3, name)
  except BadPicture as error:
    raise BadPicture(f"{error} ({says})" if says.bits else str(error)) from error
  height, width, _ = picture.shape
  some = picture[:: -(-height // GRID), :: -(-width // GRID)].reshape(-1, 3) / 255
  digest = hashlib.blake2b(repr(picture.shape).encode(), digest_size=16)
  digest.update(picture.tobytes())
  return Seen(
    header=says,
    height=height,
    width=width,
    size=len(data),
    digest=digest.digest(),
    fingerprint=fingerprint(picture),
    mean=some.mean(axis=0),
    square=(some**2).mean(axis=0),
    grey=bool(np.ptp(some, axis=1).max() <= GREY / 255),
  )


def _find(source: FolderSource, split: str, index: int) -> Found:
  name = source.describe(index)
  try:
    return Found(split, index, name, look(source.encoded(index), name))
  except BadPicture as error:
    return Found(split, index, name, None, " ".join(str(error).removeprefix(name).removeprefix(": ").split()))
