"""Writes one shard, or finds that an earlier command has written it."""

import dataclasses
import hashlib
import json
import pathlib
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxssl.core import UserError, atomic, one_line, path_of, paths
from jaxssl.data import shrink
from jaxssl.data.file_kinds import DecodeError, UnsupportedImage
from jaxssl.data.input_pipeline import read_ahead
from jaxssl.data.packed_manifest import LeftOut, Shard, shard_name
from jaxssl.data.source import Source, decoder_of
from jaxssl.data.unreadable import LIMIT

_PIECE = 2**24  # bytes that are read at a time to compare a shard with its hash
_REPORTED = 100  # images between calls of `advance`


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
  """A shard to write in the folder `out`: the images `first` to `last` of `total` in a split. `request`: see the manifest."""

  out: str
  split: str
  number: int
  first: int
  last: int  # excluded
  total: int
  request: str
  shorter_side: int
  quality: int
  threads: int

  @property
  def path(self) -> pathlib.Path:
    """The path of the shard."""
    return path_of(self.out) / shard_name(self.split, self.number)

  @property
  def part(self) -> pathlib.Path:
    """The path of what is known about its images, which is written after it, and is needed until all are packed."""
    return self.path.with_name(f"{self.path.name}.part")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
  """What is known about the images of a shard."""

  shard: Shard
  rows: np.ndarray  # int64 [n], their places in the split
  length: np.ndarray
  crc: np.ndarray
  size: np.ndarray  # [n, 2], height and width of ordinary JPEGs, otherwise 0
  before: int  # bytes in the source
  left_out: tuple[LeftOut, ...]


def write(source: Source, task: Task, advance: Callable[[int], object]) -> Part:
  """Writes a shard and its part, unless valid ones are there. `advance`: called with numbers of images. Raises UserError."""
  if part := _finished(task):
    advance(task.last - task.first)
    return part
  rows, lengths, crcs, sizes, left_out = list[int](), list[int](), list[int](), list[tuple[int, int]](), list[LeftOut]()
  measure, digest, before, done = dataclasses.replace(decoder_of(source), channels=3), hashlib.sha256(), 0, 0

  def load(row: int) -> tuple[bytes, int] | LeftOut:
    try:
      return shrink.packed(source, row, task.shorter_side, task.quality)
    except (DecodeError, UnsupportedImage) as error:
      name = source.describe(row)
      return LeftOut(name=name, reason=" ".join(str(error).removeprefix(one_line(name)).removeprefix(": ").split()))

  with written(task.path) as temporary, temporary.open("wb") as file:
    for row, loaded in zip(range(task.first, task.last), _loaded(load, task), strict=True):
      done += 1
      if isinstance(loaded, LeftOut):
        left_out.append(loaded)
        check_left_out(left_out, task.total)
      else:
        data, size = loaded
        file.write(data)
        digest.update(data)
        before += size
        for values, value in ((rows, row), (lengths, len(data)), (crcs, zlib.crc32(data)), (sizes, measure.jpeg_size(data))):
          values.append(value or (0, 0) if values is sizes else value)
      if done % _REPORTED == 0:
        advance(_REPORTED)
  advance(done % _REPORTED)
  shard = Shard(images=len(rows), bytes=sum(lengths), sha256=digest.hexdigest())
  columns = {"rows": np.array(rows, np.int64), "length": np.array(lengths, np.int64), "crc": np.array(crcs, np.int64)}
  columns["size"] = np.array(sizes, np.int64).reshape(-1, 2)
  about = {"request": task.request, "shard": dataclasses.asdict(shard), "before": before}
  about["left_out"] = [dataclasses.asdict(image) for image in left_out]
  with written(task.part) as temporary, temporary.open("wb") as file:
    np.savez(file, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **columns)
  return Part(shard=shard, before=before, left_out=tuple(left_out), **columns)


def check_left_out(left_out: list[LeftOut], total: int) -> None:
  """Raises UserError if more than 1% of the images of a split, and more than one, are unreadable."""
  if len(left_out) > max(1, LIMIT * total):
    count = f"{len(left_out)} of {total} images are unreadable (limit: {LIMIT:.0%})"
    raise UserError(f"{count}, e.g. {left_out[0].name}: {left_out[0].reason}. Fix or remove them.")


def _loaded(load: Callable[[int], Any], task: Task) -> Any:
  return read_ahead(load, range(task.first, task.last), task.threads, 4 * task.threads)


def written(path: pathlib.Path) -> Any:
  """Yields where to write a file, so that no reader gets a partial one."""
  return atomic.replacing(path) if paths.is_local(path) else paths.uploaded(path)


def _finished(task: Task) -> Part | None:
  """Returns the part of a shard that is complete, for the same request, and has the same hash; else None."""
  try:
    with paths.local_copy(task.part) as local, np.load(local, allow_pickle=False) as stored:
      columns = {name: stored[name] for name in stored.files}
    about = json.loads(columns.pop("about").tobytes())
    shard = Shard(**about["shard"])
    if about["request"] != task.request or hash_of(task.path) != shard.sha256:
      return None
    left_out = tuple(LeftOut(**image) for image in about["left_out"])
    return Part(shard=shard, before=about["before"], left_out=left_out, **columns)
  except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
    return None
  except Exception as error:
    if paths.gcs_error(error) and type(error).__name__ == "NotFoundError":
      return None
    raise


def hash_of(path: pathlib.Path) -> str:
  """Returns the SHA-256 of a file."""
  digest = hashlib.sha256()
  with path.open("rb") as file:
    while piece := file.read(_PIECE):
      digest.update(piece)
  return digest.hexdigest()
