"""Copies the files of a packed dataset to a local disk or to memory, verified, once for all processes and runs of a host."""

import contextlib
import hashlib
import os
import pathlib
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import filelock

from jaxssl.core import UserError, cache, heartbeat, json_io, path_of, paths, retry, storage_errors
from jaxssl.core.log import byte_progress
from jaxssl.data.packed_manifest import PackedManifest

_COPIES = 16  # files that are copied at the same time
_PIECE = 2**24  # bytes of a read
File = tuple[str, int, str]  # name, bytes, SHA-256


def staged(stage: str, root: str, manifest: PackedManifest) -> str:
  """Copies a dataset to a folder in `data.stage`, unless valid copies are there; returns that folder. Raises UserError."""
  if "://" in stage:
    raise UserError(f"data.stage={stage}: expected a folder on a local disk or in memory, such as /dev/shm")
  folder = pathlib.Path(paths.absolute(stage)) / f"jaxssl-{manifest.sha256[:16]}"
  with _as_user_error(f"data.stage={stage}"), _locked(folder):
    for unfinished in folder.glob("*.tmp"):
      unfinished.unlink()
    missing = [file for file in manifest.files() if not _is_valid(folder, file)]
    for name, _, _ in missing:
      (folder / name).unlink(missing_ok=True)
    needed, free = sum(size for _, size, _ in missing), shutil.disk_usage(folder).free
    if needed > free:
      remedy = "free some, name another folder, or leave data.stage empty to read in place"
      raise UserError(f"data.stage={stage}: too little space: {needed} bytes are needed, {free} are free; {remedy}")
    if missing:
      _copy_all(root, folder, missing, needed)
  return str(folder)


def cached(root: str, file: File, key: str) -> pathlib.Path:
  """Copies one file of a dataset in a bucket to the cache folder, unless a valid copy is there. Raises UserError or OSError."""
  folder = cache.folder("packed") / key[:16]
  with _as_user_error(f"{folder}"), _locked(folder):
    if not _is_valid(folder, file):
      _copy_all(root, folder, [file], file[1])
  return folder / file[0]


@contextlib.contextmanager
def _locked(folder: pathlib.Path) -> Iterator[None]:
  """Creates a folder and locks it against other processes. The system releases the lock if the process dies."""
  folder.mkdir(parents=True, exist_ok=True)
  lock = filelock.FileLock(folder / "lock")
  try:
    lock.acquire(timeout=0)
  except filelock.Timeout:
    with heartbeat(f"another process copies to {folder}"):
      lock.acquire()
  try:
    yield
  finally:
    lock.release()


@contextlib.contextmanager
def _as_user_error(where: str) -> Iterator[None]:
  try:
    yield
  except OSError as error:
    if storage_errors.kind_of(error) is storage_errors.Kind.FULL:
      raise UserError(f"{where}: the disk is full; free some space, or name another folder") from error
    raise retry.failure(f"{where}: cannot be used", error, "; name a folder that can be written to") from error


def _marker(path: pathlib.Path) -> pathlib.Path:
  return path.with_name(f"{path.name}.verified")


def _verified(path: pathlib.Path, sha256: str) -> dict[str, Any]:
  """Returns the content of the marker of a file that has this hash."""
  return {"sha256": sha256, "mtime": path.stat().st_mtime_ns}


def _is_valid(folder: pathlib.Path, file: File) -> bool:
  """Returns whether a copy is complete; compares its SHA-256 unless that was done and the copy has not changed since."""
  name, size, sha256 = file
  path = folder / name
  if not path.exists() or path.stat().st_size != size:
    return False
  with contextlib.suppress(UserError):
    if _marker(path).exists() and json_io.read(_marker(path)) == _verified(path, sha256):
      return True
  if paths.sha256(path) != sha256:
    return False
  json_io.write(_marker(path), _verified(path, sha256))
  return True


def _copy_all(root: str, folder: pathlib.Path, files: Sequence[File], total: int) -> None:
  """Copies files at the same time, in large pieces, and shows the progress."""
  stop = threading.Event()
  with byte_progress(total) as progress, ThreadPoolExecutor(_COPIES) as pool:
    try:
      for copied in as_completed([pool.submit(_copy_one, root, folder, file, progress.update, stop) for file in files]):
        copied.result()
    except BaseException:
      stop.set()
      pool.shutdown(cancel_futures=True)
      raise


def _pieces(path: str) -> Iterator[bytes]:
  """Yields the content of a file on a disk or in a bucket. Raises UserError if it cannot be read, and transient errors."""
  try:
    with path_of(path).open("rb") as file:
      while piece := file.read(_PIECE):
        yield piece
  except OSError as error:
    if storage_errors.is_transient(error):
      raise
    raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


def _copy_one(root: str, folder: pathlib.Path, file: File, advance: Callable[[int], object], stop: threading.Event) -> None:
  """Copies a file, from its start again if the storage did not respond meanwhile."""
  copied = [0]

  def count(size: int) -> None:
    copied[0] += size
    advance(size)

  def copy() -> None:
    count(-copied[0])
    _copy(root, folder, file, count, stop)

  retry.call(f"copying {os.path.join(root, file[0])}", copy)


def _copy(root: str, folder: pathlib.Path, file: File, advance: Callable[[int], object], stop: threading.Event) -> None:
  name, size, sha256 = file
  path, temporary, digest = folder / name, folder / f"{name}.tmp", hashlib.sha256()
  with temporary.open("wb") as target:
    for piece in _pieces(os.path.join(root, name)):
      if stop.is_set():
        return
      digest.update(piece)
      target.write(piece)
      advance(len(piece))
  if temporary.stat().st_size != size or digest.hexdigest() != sha256:
    temporary.unlink()
    raise UserError(f"{os.path.join(root, name)}: damaged: its size or SHA-256 is not that of the manifest; pack it again")
  temporary.replace(path)
  json_io.write(_marker(path), _verified(path, sha256))
