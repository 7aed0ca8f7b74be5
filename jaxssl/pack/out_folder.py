"""The folder that a dataset is packed to: its marker, its lock, and the files of an unfinished dataset."""

import contextlib
import json
import pathlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import filelock

from jaxssl.core import LOG, UserError, heartbeat, json_io, paths, retry
from jaxssl.core.cores import cores
from jaxssl.data import packed_manifest
from jaxssl.data.packed_manifest import PackedManifest
from jaxssl.pack import shards

_STARTED = "packing.json"  # in an unfinished dataset


def claim(folder: pathlib.Path, request: str) -> PackedManifest | None:
  """Marks a folder as that of this request; returns the manifest if all is done.

  A dataset with missing or damaged files is to be packed again. Raises UserError if the folder holds anything else.
  """
  where, started = f"--out={folder}", folder / _STARTED
  if folder.exists() and not folder.is_dir():
    raise UserError(f"{where}: is a file; name a new folder")
  if (folder / packed_manifest.NAME).exists():
    manifest = _manifest(folder)
    if manifest.request != request:
      raise UserError(f"{where}: holds another packed dataset, or one of other options; name another folder, or remove it")
    damaged = _damaged(folder, manifest)
    if not damaged:
      clean(folder)
      return manifest
    LOG.warning("%s: %s missing or damaged, so all files are written again", folder, _list(damaged))
    _start(folder, request)
    (folder / packed_manifest.NAME).unlink()
    return None
  if started.exists():
    if _request_in(started) != request:
      problem = "holds a part of another dataset, or of other options, or images have changed since"
      raise UserError(f"{where}: {problem}; name another folder, or remove it to start over")
    LOG.info("%s: shards that are finished are not written again", folder)
    return None
  if folder.exists() and any(True for _ in folder.iterdir()):
    raise UserError(f"{where}: holds other files; name a new folder")
  folder.mkdir(parents=True, exist_ok=True)
  _start(folder, request)
  return None


@contextlib.contextmanager
def errors(folder: pathlib.Path) -> Iterator[None]:
  """Raises UserError, or Unavailable if the error is transient, for an OSError of writing to the folder."""
  try:
    yield
  except OSError as error:
    raise retry.failure(f"--out={folder}: cannot be written", error, "; rerun the same command to resume") from error


def _manifest(folder: pathlib.Path) -> PackedManifest:
  try:
    return packed_manifest.read(str(folder), "--out")
  except UserError as error:
    raise UserError(f"{error}; remove the folder first, or name another one") from error


def _start(folder: pathlib.Path, request: str) -> None:
  with shards.written(folder / _STARTED) as temporary:
    temporary.write_text(json.dumps({"request": request}) + "\n", encoding="utf-8")


def _request_in(started: pathlib.Path) -> Any:
  """Returns the request that a folder is for; None if its file is damaged."""
  try:
    return json_io.parse(started.read_text(encoding="utf-8")).get("request")
  except ValueError:
    return None


def _damaged(folder: pathlib.Path, manifest: PackedManifest) -> list[str]:
  """Returns the names of the files that are not as the manifest states; those in a bucket are compared by size only."""

  def intact(file: tuple[str, int, str]) -> bool:
    name, size, sha256 = file
    path = folder / name
    if not path.exists():
      return False
    if not paths.is_local(folder):
      return path.stat().length == size  # type: ignore[attr-defined]
    return path.stat().st_size == size and paths.sha256(path) == sha256

  files = list(manifest.files())
  with ThreadPoolExecutor(cores()) as pool, heartbeat(f"comparing the files in {folder} with their hashes"):
    return [name for (name, *_), same in zip(files, pool.map(intact, files), strict=True) if not same]


def _list(names: list[str]) -> str:
  more = f" and {len(names) - 3} more are" if len(names) > 3 else " is" if len(names) == 1 else " are"
  return ", ".join(names[:3]) + more


def locked(folder: pathlib.Path) -> Any:
  """Locks a folder against other commands that pack to it; folders in buckets are not locked. Raises UserError."""
  if not paths.is_local(folder):
    return contextlib.nullcontext()
  lock = filelock.FileLock(folder / "packing.lock", timeout=0)
  try:
    return lock.acquire()
  except filelock.Timeout as error:
    raise UserError(f"--out={folder}: another command packs to it; wait for it, or name another folder") from error


def remove_partial(folder: pathlib.Path) -> None:
  """Removes files that a command which was killed had begun to write."""
  _remove(folder.glob("*.tmp"))


def clean(folder: pathlib.Path) -> None:
  """Removes what only an unfinished dataset needs; `packing.json` last."""
  remove_partial(folder)
  _remove([*folder.glob("*.part"), folder / "packing.lock", folder / _STARTED])


def _remove(files: Iterable[pathlib.Path]) -> None:
  for file in files:
    if file.exists():
      with contextlib.suppress(FileNotFoundError):  # another command does the same
        file.unlink()
