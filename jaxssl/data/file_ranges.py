"""Reads ranges of bytes of files, on a disk or in a bucket, from any thread, also after a fork or in a pickled copy."""

import os
import weakref
from collections.abc import Sequence
from typing import Any

from jaxssl.core import UserError, path_of, paths
from jaxssl.data.file_kinds import DecodeError, UnsupportedImage

_OPEN = 256  # files that a process keeps open; others are opened for each read


class FileRanges:
  """Reads ranges of the files `files`, local paths."""

  def __init__(self, files: Sequence[str]):
    self.files = tuple(files)
    self._open = dict[int, int]()
    weakref.finalize(self, _close, self._open)

  def __reduce__(self) -> Any:
    return type(self), (self.files,)

  def read(self, file: int, offset: int, length: int) -> bytes:
    """Returns `length` bytes of file number `file`, fewer at its end. Raises OSError."""
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
    return _pread(descriptor, offset, length)


class BucketRanges(FileRanges):
  """Reads ranges of files in a bucket. An open file serves one thread at a time, since a read begins with a seek."""

  def __init__(self, files: Sequence[str]):
    super().__init__(files)
    self._process, self._idle = os.getpid(), dict[int, list[Any]]()
    weakref.finalize(self, _close_all, self._idle)

  def read(self, file: int, offset: int, length: int) -> bytes:
    """Returns `length` bytes of file number `file`, fewer at its end. Raises OSError."""
    if self._process != os.getpid():  # connections are not shared with the process that was forked
      self._idle.clear()
      self._process = os.getpid()
    idle = self._idle.setdefault(file, [])
    try:
      try:
        handle = idle.pop()
      except IndexError:
        handle = path_of(self.files[file]).open("rb")
      handle.seek(offset)
      data = handle.read(length)
    except Exception as error:
      if paths.gcs_error(error):
        raise OSError(paths.gcs_error(error)) from error
      raise
    idle.append(handle)
    return data


def image_error(error: Exception, name: str) -> UserError:
  """Returns the error for the image `name` whose bytes could not be read: OSError, ValueError or MemoryError."""
  if isinstance(error, MemoryError):
    return UnsupportedImage(f"{name}: too little memory to read it; cut it into tiles")
  return DecodeError(f"{name}: {getattr(error, 'strerror', None) or error}")


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


def _close(opened: dict[int, int]) -> None:
  for descriptor in opened.values():
    os.close(descriptor)
