"""Local and `gs://` paths (the latter through `etils.epath`), and whole operations on them, which are retried."""

import contextlib
import hashlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

from jaxssl.core import retry
from jaxssl.core.errors import UserError

BUCKET = "gs://"
_PIECE = 2**24  # bytes of a file that are read at a time


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
  from jaxssl.core.bucket import BucketPath

  return BucketPath(text)  # type: ignore[return-value]


def is_local(path: pathlib.Path) -> bool:
  """Returns whether a path is local."""
  return isinstance(path, pathlib.Path)


def absolute(text: str) -> str:
  """Returns an absolute path: ~ and relative paths are resolved, `gs://` paths are returned as they are."""
  return text.rstrip("/") if text.startswith(BUCKET) else os.path.abspath(os.path.expanduser(text))


def read(text: str) -> bytes:
  """Reads a file, ~ resolved. Raises OSError, Unavailable, or ValueError for text that is not a path."""
  return read_bytes(path_of(text) if text.startswith(BUCKET) else pathlib.Path(os.path.expanduser(text)))


def read_bytes(path: pathlib.Path) -> bytes:
  """Reads a file. Raises OSError or Unavailable."""
  return retry.call(f"reading {path}", path.read_bytes)


@contextlib.contextmanager
def local_copy(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields a local file: the file itself, or a copy of one in a bucket. Raises OSError if there is none, or Unavailable."""
  if is_local(path):
    yield path
    return
  with tempfile.TemporaryDirectory(prefix="jaxssl-") as folder:
    copy = pathlib.Path(folder) / path.name
    _copy(path, copy)
    yield copy


def upload(local: pathlib.Path, path: pathlib.Path) -> None:
  """Copies a local file or folder to `path`, usually in a bucket. Raises OSError or Unavailable."""
  for file in sorted(local.rglob("*")) if local.is_dir() else [local]:
    if file.is_file():
      goal = path / str(file.relative_to(local)) if local.is_dir() else path
      goal.parent.mkdir(parents=True, exist_ok=True)
      _copy(file, goal)


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


def sha256(path: pathlib.Path) -> str:
  """Returns the SHA-256 of a file in hexadecimal digits. Raises OSError or Unavailable."""
  return retry.call(f"reading {path}", _sha256, path)


def _sha256(path: pathlib.Path) -> str:
  digest = hashlib.sha256()
  with path.open("rb") as file:
    while piece := file.read(_PIECE):
      digest.update(piece)
  return digest.hexdigest()


def _copy(source: pathlib.Path, target: pathlib.Path) -> None:
  """Copies a file from or to a bucket, from its beginning if the bucket does not respond in the middle."""

  def copy() -> None:
    with source.open("rb") as reader, target.open("wb") as writer:
      shutil.copyfileobj(reader, writer, _PIECE)

  retry.call(f"copying {source} to {target}", copy)
