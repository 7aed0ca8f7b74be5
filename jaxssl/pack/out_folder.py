"""The folder that a dataset is packed to: its marker, its lock, and the files of an unfinished dataset."""

import contextlib
import pathlib
from typing import Any

import filelock

from jaxssl.core import LOG, UserError, json_io, paths, retry
from jaxssl.data import packed_manifest
from jaxssl.data.packed_manifest import PackedManifest

_STARTED = "packing.json"  # in an unfinished dataset


def claim(folder: pathlib.Path, request: str) -> PackedManifest | None:
  """Marks a folder as that of this request; returns the manifest if all is done. Raises UserError if it holds anything else."""
  where, started = f"--out={folder}", folder / _STARTED
  if (folder / packed_manifest.NAME).exists():
    manifest = packed_manifest.read(str(folder), "--out")
    if manifest.request == request:
      clean(folder)
      return manifest
    raise UserError(f"{where}: holds another packed dataset, or one of other options; name another folder, or remove it")
  if started.exists():
    if json_io.read(started).get("request") != request:
      problem = "holds a part of another dataset, or of other options, or images have changed since"
      raise UserError(f"{where}: {problem}; name another folder, or remove it to start over")
    LOG.info("%s: shards that are finished are not written again", folder)
    return None
  if folder.exists() and any(True for _ in folder.iterdir()):
    raise UserError(f"{where}: holds other files; name a new folder")
  try:
    folder.mkdir(parents=True, exist_ok=True)
    json_io.write(started, {"request": request})
  except OSError as error:
    raise retry.failure(f"{where}: cannot be written", error) from error
  return None


def locked(folder: pathlib.Path) -> Any:
  """Locks a folder against other commands that pack to it; folders in buckets are not locked. Raises UserError."""
  if not paths.is_local(folder):
    return contextlib.nullcontext()
  lock = filelock.FileLock(folder / "packing.lock", timeout=0)
  try:
    return lock.acquire()
  except filelock.Timeout as error:
    raise UserError(f"--out={folder}: another command packs to it; wait for it, or name another folder") from error


def clean(folder: pathlib.Path) -> None:
  """Removes what only an unfinished dataset needs; `packing.json` last."""
  for file in [*folder.glob("*.part"), *folder.glob("*.tmp"), folder / "packing.lock", folder / _STARTED]:
    if file.exists():
      file.unlink()
