"""Reads ranges of bytes of files, on a disk or in a bucket, from any thread, also after a fork or in a pickled copy."""

import os
import weakref
from collections.abc import Sequence
from typing import Any

from jaxssl.core import path_of, paths, retry

_OPEN = 256  # files that a process keeps open; others are opened for each read


class FileRanges:
  """Reads ranges of the files `files`, local paths."""

  def __init__(self, files: Sequence[str]):
    self.files = tuple(files)
    self._open, self._stale = dict[int, int](), list[int]()
    weakref.finalize(self, _close, self._open, self._stale)

  def __reduce__(self) -> Any:
    return type(self), (self.files,)

  def read(self, file: int, offset: int, length: int) -> bytes:
    """Returns `length` bytes of file number `file`, fewer at its end. Raises OSError, or Unavailable after retries."""
    return retry.call(f"reading {self.files[file]}", self._read, file, offset, length)

  def _read(self, file: int, offset: int, length: int) -> bytes:
    descriptor = self._open.get(file)
    if descriptor is None:
      descriptor = os.open(self.files[file], os.O_RDONLY | os.O_NONBLOCK)  # does not wait for the writer of a pipe
      if len(self._open) >= _OPEN:
        try:
          return _pread(descriptor, offset, length)
        finally:
          os.close(descriptor)
      if (other := self._open.setdefault(file, descriptor)) != descriptor:  # another thread was faster
        os.close(descriptor)
        descriptor = other
    try:
      return _pread(descriptor, offset, length)
    except OSError:
      if self._open.get(file) == descriptor:  # it may be stale on a network disk; the next read opens the file again
        self._stale.append(self._open.pop(file))  # not closed, since other threads may be reading
      raise


class BucketRanges(FileRanges):
  """Reads ranges of files in a bucket. An open file serves one thread at a time, since a read begins with a seek."""

  def __init__(self, files: Sequence[str]):
    super().__init__(files)
    self._process, self._idle = os.getpid(), dict[int, list[Any]]()
    weakref.finalize(self, _close_all, self._idle)

  def _read(self, file: int, offset: int, length: int) -> bytes:
    if self._process != os.getpid():  # connections are not shared with the process that was forked
      self._idle.clear()
      self._process = os.getpid()
    idle = self._idle.setdefault(file, [])
    try:
      handle = idle.pop()
    except IndexError:
      handle = path_of(self.files[file]).open("rb")
    handle.seek(offset)
    data = handle.read(length)
    idle.append(handle)
    return data


def open_ranges(files: Sequence[str]) -> FileRanges:
  """Returns what reads ranges of files that are all local or all in a bucket."""
  return (BucketRanges if files and files[0].startswith(paths.BUCKET) else FileRanges)(files)


def _pread(descriptor: int, offset: int, length: int) -> bytes:
  """Reads until `length` bytes or the end of the file: one call returns at most 2 GiB, fewer on some network disks."""
  data = os.pread(descriptor, length, offset)
  while len(data) < length and (more := os.pread(descriptor, length - len(data), offset + len(data))):
    data += more
  return data


def _close_all(idle: dict[int, list[Any]]) -> None:
  for handles in idle.values():
    for handle in handles:
      handle.close()


def _close(opened: dict[int, int], stale: list[int]) -> None:
  for descriptor in (*opened.values(), *stale):
    os.close(descriptor)
