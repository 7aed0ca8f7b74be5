"""Writes one shard, or finds that an earlier command has written it."""

import contextlib
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
from jaxssl.data.packed_manifest import LeftOut, Shard, shard_name
from jaxssl.data.read_ahead import read_ahead
from jaxssl.data.source import Source, decoder_of
from jaxssl.data.unreadable import LIMIT

COLUMNS: tuple[str, ...] = ("row", "length", "crc", "height", "width")  # of a part, as in the index


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
  """What is known about the images of a shard. `table`: int64 [n, 5], the columns COLUMNS; `before`: bytes in the source."""

  shard: Shard
  table: np.ndarray
  before: int
  left_out: tuple[LeftOut, ...]


def write(source: Source, task: Task, advance: Callable[[int], object]) -> Part:
  """Writes a shard and its part, unless valid ones are there. `advance`: called with numbers of images. Raises UserError."""
  if part := _finished(task):
    advance(task.last - task.first)
    return part
  part = _write_shard(source, task, advance)
  about = {"request": task.request, "shard": dataclasses.asdict(part.shard), "before": part.before}
  about["left_out"] = [dataclasses.asdict(image) for image in part.left_out]
  with written(task.part) as temporary, temporary.open("wb") as file:
    np.savez(file, table=part.table, about=np.frombuffer(json.dumps(about).encode(), np.uint8))
  return part


def _write_shard(source: Source, task: Task, advance: Callable[[int], object]) -> Part:
  rows, left_out, digest, before = list[tuple[int, ...]](), list[LeftOut](), hashlib.sha256(), 0
  measure = dataclasses.replace(decoder_of(source), channels=3)

  def load(row: int) -> tuple[bytes, int] | LeftOut:
    try:
      return shrink.packed(source, row, task.shorter_side, task.quality)
    except (DecodeError, UnsupportedImage) as error:
      name = source.describe(row)
      return LeftOut(name=name, reason=" ".join(str(error).removeprefix(one_line(name)).removeprefix(": ").split()))

  images = read_ahead(load, range(task.first, task.last), task.threads, 4 * task.threads)
  with contextlib.closing(images), written(task.path) as temporary, temporary.open("wb") as file:
    for row, image in enumerate(images, task.first):
      if isinstance(image, LeftOut):
        left_out.append(image)
        check_left_out(left_out, task.total)
      else:
        data, size = image
        file.write(data)
        digest.update(data)
        rows.append((row, len(data), zlib.crc32(data), *(measure.jpeg_size(data) or (0, 0))))
        before += size
      advance(1)
  table = np.array(rows, np.int64).reshape(-1, len(COLUMNS))
  shard = Shard(images=len(rows), bytes=int(table[:, 1].sum()), sha256=digest.hexdigest())
  return Part(shard=shard, table=table, before=before, left_out=tuple(left_out))


def check_left_out(left_out: list[LeftOut], total: int) -> None:
  """Raises UserError if more than 1% of the images of a split, and more than one, are unreadable."""
  if len(left_out) > max(1, LIMIT * total):
    count = f"{len(left_out)} of {total} images are unreadable (limit: {LIMIT:.0%})"
    raise UserError(f"{count}, e.g. {left_out[0].name}: {left_out[0].reason}. Fix or remove them.")


def written(path: pathlib.Path) -> Any:
  """Yields where to write a file, so that no reader gets a partial one."""
  return atomic.replacing(path) if paths.is_local(path) else paths.uploaded(path)


def _finished(task: Task) -> Part | None:
  """Returns the part of a shard that is complete, for the same request, and has the same hash; else None."""
  try:
    with paths.local_copy(task.part) as local, np.load(local, allow_pickle=False) as stored:
      table, about = stored["table"], json.loads(stored["about"].tobytes())
    shard = Shard(**about["shard"])
    if about["request"] != task.request or paths.sha256(task.path) != shard.sha256:
      return None
    left_out = tuple(LeftOut(**image) for image in about["left_out"])
    return Part(shard=shard, table=table, before=about["before"], left_out=left_out)
  except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
    return None
