"""Paths: of this machine, or with gs:// in a bucket, by etils' paths, which have pathlib's methods and TensorFlow's hands."""

import contextlib
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator

from jaxssl.core.errors import UserError

BUCKET = "gs://"


def path_of(text: str | pathlib.Path) -> pathlib.Path:
  """Makes a path. Raises UserError for text that no disk can hold as a path, and for buckets of other clouds."""
  text = str(text)
  if "\0" in text or len(os.fsencode(text)) > 4000 or any(len(os.fsencode(part)) > 255 for part in text.split("/")):
    raise UserError(f"{text[:100]!r} is no path: it has 4000 bytes at most, names in it 255, and none of them is 0")
  if "://" not in text:
    return pathlib.Path(text)
  if not text.startswith(BUCKET):
    raise UserError(f"{text} is not allowed; a path of this machine, or {BUCKET}BUCKET/NAME. Buckets of others can be mounted")
  from etils import epath

  return epath.Path(text)  # type: ignore[return-value]


def is_local(path: pathlib.Path) -> bool:
  """Whether a path is one of this machine."""
  return isinstance(path, pathlib.Path)


def absolute(text: str) -> str:
  """Gives a path's full name: ~ and relative paths resolved, a bucket's as it is."""
  return text.rstrip("/") if text.startswith(BUCKET) else os.path.abspath(os.path.expanduser(text))


def read(text: str) -> bytes:
  """Gives what is in a file, ~ resolved. Raises OSError, or ValueError for what is no path."""
  if not text.startswith(BUCKET):
    return pathlib.Path(os.path.expanduser(text)).read_bytes()
  try:
    return path_of(text).read_bytes()
  except Exception as error:
    if gcs_error(error):
      raise OSError(gcs_error(error)) from error
    raise


@contextlib.contextmanager
def local_copy(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Gives a file for what reads disks only: of a bucket, a copy under the same name. Raises OSError where there is none."""
  if is_local(path):
    yield path
    return
  with tempfile.TemporaryDirectory(prefix="jaxssl-") as folder:
    copy = pathlib.Path(folder) / path.name
    with path.open("rb") as theirs, copy.open("wb") as ours:
      shutil.copyfileobj(theirs, ours, 2**24)
    yield copy


def upload(made: pathlib.Path, path: pathlib.Path) -> None:
  """Copies a file or a folder of this machine to `path` in a bucket."""
  for file in sorted(made.rglob("*")) if made.is_dir() else [made]:
    if file.is_file():
      goal = path / str(file.relative_to(made)) if made.is_dir() else path
      goal.parent.mkdir(parents=True, exist_ok=True)
      with file.open("rb") as ours, goal.open("wb") as theirs:
        shutil.copyfileobj(ours, theirs, 2**24)


@contextlib.contextmanager
def uploaded(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Gives where to write a file that is to lie at `path`; if that is in a bucket, it comes there when it is whole."""
  if is_local(path):
    yield path
    return
  with tempfile.TemporaryDirectory(prefix="jaxssl-") as folder:
    made = pathlib.Path(folder) / path.name
    yield made
    upload(made, path)


def gcs_error(error: BaseException) -> str:
  """Says in one line what went wrong with a bucket; empty for an error of anything else."""
  tensorflow = sys.modules.get("tensorflow")
  if tensorflow is None or not isinstance(error, tensorflow.errors.OpError):
    return ""
  return " ".join(str(error.message).split())  # type: ignore[attr-defined]


def is_permanent(error: BaseException) -> bool:
  """Whether what went wrong with a bucket would go wrong again: it is not there, or not for this user."""
  errors = sys.modules["tensorflow"].errors
  return isinstance(error, (errors.NotFoundError, errors.PermissionDeniedError, errors.UnauthenticatedError))
