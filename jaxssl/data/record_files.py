"""Finds the files of a dataset in containers (tar, TFRecord, Parquet), by split, and caches what scanning them has found."""

import glob
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from jaxssl.core import LOG, UserError, cache, heartbeat, path_of, paths
from jaxssl.data.file_sorter import SYSTEM_FOLDERS
from jaxssl.data.folder_names import HELD_OUT, part_of
from jaxssl.data.source import Source

S = TypeVar("S", bound=Source)
_FILES = 8  # scanned at the same time
_PATTERN = re.compile(r"[*?[{]")  # the characters with which a pattern begins
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")  # of WebDataset: train-{000000..000146}.tar


def split_files(path: str, field: str, pattern: re.Pattern, kind: str) -> dict[str, list[str]]:
  """Returns the files that match `pattern` by what their names say: "train", and any of HELD_OUT, each sorted.

  `path`: a file, a folder, or a pattern with * or {000..146}. `kind`: of the files, for messages. Of `data.test_path`, "train"
  are all that are held out, if there is nothing else. Raises UserError.
  """
  held_out = HELD_OUT if field == "data.test_path" else ()
  root, where = paths.absolute(path), f"{field}={path}"
  try:
    with heartbeat(f"listing {root}"):
      found = sorted(file for file in _files(root) if pattern.search(os.path.basename(file)))
  except OSError as error:
    raise UserError(f"{where}: cannot be listed: {error.strerror or error}") from error
  if not found:
    raise UserError(f"{where}: there are no {kind} files; expected one, a folder of them, or a pattern such as DIR/train-*")
  splits = dict[str, list[str]]()
  outer = root if path_of(root).is_dir() else os.path.dirname(_PATTERN.split(root)[0])  # whose name says nothing
  for file in found:
    splits.setdefault(_kind(file.removeprefix(outer).split("/")), []).append(file)
  if "train" not in splits and (instead := next((kind for kind in ("", *held_out) if kind in splits), None)) is not None:
    splits["train"] = splits.pop(instead)
  if "train" not in splits:
    raise UserError(f"{where}: all {kind} files are of {', '.join(splits)}; expected some to train on")
  if left_out := {name: len(files) for name, files in splits.items() if name != "train" and name not in HELD_OUT}:
    LOG.warning("%s: left out: %s", where, ", ".join(f"{n} files of {name or 'no split'}" for name, n in left_out.items()))
  return {name: files for name, files in splits.items() if name == "train" or name in HELD_OUT}


def open_splits(splits: dict[str, list[str]], make: Callable[[str, list[str]], S]) -> tuple[S, S | None]:
  """Opens the training files, and those of the first held-out split that has labels if the training images have some."""
  train = make("train", splits["train"])
  for name in HELD_OUT:
    if name in splits:
      test = make(name, splits[name])
      if train.labels is None or test.labels is not None:  # ImageNet's test labels are withheld
        return train, test
      LOG.info("%s: the %s split has no labels and is left out", train.name, name)
  return train, None


def with_test(config: Any, opened: Callable[[str, str], tuple[S, S | None]]) -> tuple[S, S | None]:
  """Opens `data.path`, and `data.test_path` if it is set: its held-out split, or all of it. `opened`: takes path and field."""
  train, test = opened(config.path, "data.path")
  if config.test_path:
    other, test = opened(config.test_path, "data.test_path")
    test = test or other
  return train, test


def scanned(kind: str, files: Sequence[str], scan: Callable[[str], dict[str, Any]]) -> list[dict[str, Any]]:
  """Scans files, several at a time, or returns what was found before, while they have the same sizes and times."""
  key = hashlib.sha256(json.dumps([kind, 1, [_state(file) for file in files]]).encode()).hexdigest()
  return cached(f"{kind}-{key[:32]}", lambda: _scan_all(files, scan))


def cached(name: str, compute: Callable[[], Any]) -> Any:
  """Returns what JSON can hold from the cache folder, or computes and stores it; a folder that is not writable is no error."""
  try:
    path = cache.folder("scans") / f"{name}.json"
    if path.exists():
      return json.loads(path.read_bytes())
  except (OSError, ValueError, RuntimeError):
    path = None
  value = compute()
  if path:
    _store(path, value)
  return value


def version_of(files: Sequence[str]) -> str:
  """Returns what identifies files whose images have no names: their number, bytes, and a hash of their names and sizes."""
  states = [(os.path.basename(file), _state(file)[1]) for file in files]
  digest = hashlib.sha256(json.dumps(states).encode()).hexdigest()
  return f"{len(files)} files of {sum(size for _, size in states)} bytes ({digest[:16]})"


def joined(names: Sequence[str | None]) -> bytes | None:
  """Returns names, each followed by a zero byte; None if one is missing, or two are the same."""
  if not all(names) or len(set(names)) < len(names):
    return None
  return "".join(f"{name}\0" for name in names).encode(errors="surrogateescape")


def _files(root: str) -> Iterator[str]:
  """Yields the files that a path names."""
  if match := _RANGE.search(root):
    first, last = match.groups()
    for k in range(int(first), int(last) + 1):
      yield from _files(f"{root[: match.start()]}{k:0{len(first)}d}{root[match.end() :]}")
  elif any(c in root for c in "*?["):
    head, _, tail = root.rpartition("/")
    yield from glob.glob(root) if not root.startswith(paths.BUCKET) else (str(file) for file in path_of(head).glob(tail))
  elif path_of(root).is_dir():
    for entry in path_of(root).iterdir():
      if not entry.name.startswith(".") and entry.name.lower() not in SYSTEM_FOLDERS:
        yield from _files(str(entry)) if entry.is_dir() else (str(entry),)
  elif path_of(root).exists():
    yield root


def _kind(parts: Sequence[str]) -> str:
  """Returns what a file is for by its name, or that of the nearest folder that says so: a key of KINDS, or ""."""
  return next((kind for part in reversed(parts) if (kind := part_of(part.partition(".")[0]).kind)), "")


def _state(file: str) -> tuple[str, int, float]:
  """Returns the path, size and time of a file, local or in a bucket."""
  status: Any = path_of(file).stat()
  if hasattr(status, "st_size"):
    return file, status.st_size, status.st_mtime
  return file, status.length, float(status.mtime or 0)


def _scan_all(files: Sequence[str], scan: Callable[[str], dict[str, Any]]) -> list[dict[str, Any]]:
  def one(file: str) -> dict[str, Any]:
    try:
      return scan(file)
    except (OSError, ValueError) as error:
      raise UserError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from error

  with heartbeat(f"reading the positions of images in {len(files)} files"), ThreadPoolExecutor(_FILES) as pool:
    return list(pool.map(one, files))


def _store(path: pathlib.Path, value: Any) -> None:
  temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.write_text(json.dumps(value))
    temporary.replace(path)
  except OSError:
    temporary.unlink(missing_ok=True)
