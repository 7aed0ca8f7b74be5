"""Paths in buckets. Operations are retried while the bucket does not respond; their errors are OSErrors."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

from etils.epath.gpath import PosixGPath

from jaxssl.core import retry, storage_errors


def _retried(name: str, doing: str) -> Callable[..., Any]:
  """Returns the method `name` of the base class with retries."""
  method = getattr(PosixGPath, name)

  @functools.wraps(method)
  def call(self: "BucketPath", *args: Any, **kwargs: Any) -> Any:
    return retry.call(f"{doing} {self}", functools.partial(method, self, *args, **kwargs))

  return call


class BucketPath(PosixGPath):
  """A path in a bucket. Its methods raise OSError, or Unavailable if the bucket does not respond; `open` does not retry."""

  exists = _retried("exists", "looking for")
  stat = _retried("stat", "looking for")
  read_bytes = _retried("read_bytes", "reading")
  read_text = _retried("read_text", "reading")
  write_bytes = _retried("write_bytes", "writing")
  write_text = _retried("write_text", "writing")
  mkdir = _retried("mkdir", "creating")
  rmtree = _retried("rmtree", "deleting")
  unlink = _retried("unlink", "deleting")
  rename = _retried("rename", "renaming")
  replace = _retried("replace", "renaming")
  copy = _retried("copy", "copying")

  def is_dir(self) -> bool:
    """Returns whether there is such a folder. TensorFlow's own method returns False if the bucket does not respond."""
    try:
      return bool(self.stat().is_directory)
    except FileNotFoundError:
      return False

  def iterdir(self) -> Iterator[Any]:
    """Yields what is in the folder."""
    yield from retry.call(f"listing {self}", self._children)

  def glob(self, pattern: str) -> Iterator[Any]:
    """Yields what matches a pattern."""
    yield from retry.call(f"listing {self}", lambda: list(PosixGPath.glob(self, pattern)))

  def _children(self) -> list[Any]:
    try:
      return list(PosixGPath.iterdir(self))
    except Exception as error:
      # TensorFlow also reports "not found" if it could not check whether this is a folder
      if storage_errors.kind_of(error) is storage_errors.Kind.ABSENT and self.is_dir():
        raise TimeoutError(storage_errors.message(error)) from error
      raise
