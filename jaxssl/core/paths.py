"""Local and `gs://` paths (the latter through `etils.epath`)."""

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
  """Returns a path. Raises UserError for what cannot be one, such as empty text, and for buckets of other clouds."""
  if not isinstance(text, str | os.PathLike):
    raise UserError(f"{text!r} is not a path: expected text or a pathlib.Path")
  text = str(text)
  if not text:  # an unset variable of a shell; pathlib would take the current folder
    raise UserError("a path is empty; expected the name of a folder or a file, or . for the current folder")
  if "\0" in text or len(os.fsencode(text)) > 4000 or any(len(os.fsencode(part)) > 255 for part in text.split("/")):
    raise UserError(f"{text[:100]!r} is not a path: expected at most 4000 bytes, 255 per name, none of them 0")
  if "://" not in text:
    return pathlib.Path(text)
  if not text.startswith(BUCKET):
    raise UserError(f"{text} is not supported; use a local path or {BUCKET}BUCKET/NAME, and mount other buckets")
  from etils import epath

  return epath.Path(text)  # type: ignore[return-value]


def is_local(path: pathlib.Path) -> bool:
  """Returns whether a path is local."""
  return isinstance(path, pathlib.Path)


def absolute(text: str) -> str:
  """Returns an absolute path: ~ and relative paths are resolved, `gs://` paths are returned as they are."""
  return text.rstrip("/") if text.startswith(BUCKET) else os.path.abspath(os.path.expanduser(text))


def read(text: str) -> bytes:
  """Reads a file, ~ resolved. Raises OSError, or ValueError for text that is not a path."""
  path = path_of(text) if text.startswith(BUCKET) else pathlib.Path(os.path.expanduser(text))
  try:
    return path.read_bytes()
  except Exception as error:
    if gcs_error(error):
      raise OSError(gcs_error(error)) from error
    raise


@contextlib.contextmanager
def local_copy(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields a local file: the file itself, or a copy of one in a bucket. Raises OSError if there is none."""
  if is_local(path):
    yield path
    return
  with tempfile.TemporaryDirectory(prefix="jaxssl-") as folder:
    copy = pathlib.Path(folder) / path.name
    with path.open("rb") as source, copy.open("wb") as target:
      shutil.copyfileobj(source, target, 2**24)
    yield copy


def upload(local: pathlib.Path, path: pathlib.Path) -> None:
  """Copies a local file or folder to `path`, usually in a bucket."""
  for file in sorted(local.rglob("*")) if local.is_dir() else [local]:
    if file.is_file():
      goal = path / str(file.relative_to(local)) if local.is_dir() else path
      goal.parent.mkdir(parents=True, exist_ok=True)
      with file.open("rb") as source, goal.open("wb") as target:
        shutil.copyfileobj(source, target, 2**24)


@contextlib.contextmanager
def uploaded(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields where to write a file for `path`: if that is in a bucket, a local file that is uploaded at the end."""
  if is_local(path):
    yield path
    return
  with tempfile.TemporaryDirectory(prefix="jaxssl-") as folder:
    local = pathlib.Path(folder) / path.name
    yield local
    upload(local, path)


def gcs_error(error: BaseException) -> str:
  """Returns the message of a bucket's error in one line; empty for any other error."""
  tensorflow = sys.modules.get("tensorflow")
  if tensorflow is None or not isinstance(error, tensorflow.errors.OpError):
    return ""
  return " ".join(str(error.message).split())  # type: ignore[attr-defined]
