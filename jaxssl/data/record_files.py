"""Finds the files of a dataset in containers (tar, TFRecord, Parquet), by split, and caches what scanning them has found."""

import contextlib
import glob
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from jaxssl.config.schema import DataConfig
from jaxssl.core import LOG, UserError, atomic, cache, heartbeat, path_of, paths, retry
from jaxssl.data.file_sorter import SYSTEM_FOLDERS
from jaxssl.data.folder_names import HELD_OUT, part_of
from jaxssl.data.source import Source

S = TypeVar("S", bound=Source)
# Opens some files: takes the absolute path of all, these files, and the classes of the training images if they are known
Make = Callable[[str, list[str], tuple[str, ...]], S]
_FILES = 8  # scanned at the same time
_PATTERN = re.compile(r"[*?[{]")  # the characters with which a pattern begins
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")  # of WebDataset: train-{000000..000146}.tar


def split_files(path: str, field: str, pattern: re.Pattern, kind: str) -> dict[str, list[str]]:
  """Returns the files whose names match `pattern`, sorted, by the split that a name states: "train", and any of HELD_OUT.

  `path`: a file, a folder, or a pattern with * or {000..146}. `kind`: of the files, for messages. If `field` is
  data.test_path and all files are of one held-out split, that one is "train". Raises UserError.
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
  outer = root if path_of(root).is_dir() else os.path.dirname(_PATTERN.split(root)[0])  # its own name states no split
  for file in found:
    splits.setdefault(_kind(file.removeprefix(outer).split("/")), []).append(file)
  if "train" not in splits and (instead := next((kind for kind in ("", *held_out) if kind in splits), None)) is not None:
    splits["train"] = splits.pop(instead)
  if "train" not in splits:
    raise UserError(f"{where}: all {kind} files are of {', '.join(splits)}; expected some to train on")
  if left_out := {name: len(files) for name, files in splits.items() if name != "train" and name not in HELD_OUT}:
    LOG.warning("%s: left out: %s", where, ", ".join(f"{n} files of {name or 'no split'}" for name, n in left_out.items()))
  return {name: files for name, files in splits.items() if name == "train" or name in HELD_OUT}


def open_sets(config: DataConfig, pattern: re.Pattern, kind: str, make: Make[S]) -> tuple[S, S | None]:
  """Opens the training images of `data.path`, and the test images there or in `data.test_path` (None without either).

  `pattern`, `kind`: as for `split_files`. `make`: gets the classes of the training images for all images but these. Of
  `data.test_path`, the held-out split is used, or all images without one. Raises UserError.
  """
  train, test = _open_splits(config.path, "data.path", pattern, kind, make, None)
  if config.test_path:
    whole, held_out = _open_splits(config.test_path, "data.test_path", pattern, kind, make, train.classes)
    test = held_out or whole
  return train, test


def _open_splits(
  path: str, field: str, pattern: re.Pattern, kind: str, make: Make[S], known: tuple[str, ...] | None
) -> tuple[S, S | None]:
  """Opens the training files, and those of the first held-out split that has labels if the training images have some."""
  splits, name = split_files(path, field, pattern, kind), paths.absolute(path)
  train = make(name, splits["train"], known or ())
  for split in filter(splits.__contains__, HELD_OUT):
    test = make(name, splits[split], train.classes if known is None else known)
    if train.labels is None or test.labels is not None:  # ImageNet's test labels are withheld
      return train, test
    LOG.info("%s: the %s split has no labels and is left out", train.name, split)
  return train, None


def scanned(kind: str, files: Sequence[str], scan: Callable[[str], dict[str, Any]]) -> list[dict[str, Any]]:
  """Scans files, several at a time; returns the stored results if sizes and times are those of an earlier scan."""
  key = hashlib.sha256(json.dumps([kind, 1, [_state(file) for file in files]]).encode()).hexdigest()
  return cached(f"{kind}-{key[:32]}", lambda: _scan_all(files, scan))


def cached(name: str, compute: Callable[[], Any]) -> Any:
  """Returns a JSON value from the cache folder; computes and stores it if it is not there, or the folder cannot be used."""
  try:
    path = cache.folder("scans") / f"{name}.json"
    if path.exists():
      return json.loads(path.read_bytes())
  except (OSError, ValueError, RuntimeError):
    path = None
  value = compute()
  if path:
    with contextlib.suppress(OSError):
      path.parent.mkdir(parents=True, exist_ok=True)
      with atomic.replacing(path) as temporary:
        temporary.write_text(json.dumps(value))
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
  """Returns the split that a file's name, or that of its nearest folder with one, states: a key of KINDS, or ""."""
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
      return retry.call(f"reading {file}", scan, file)
    except (OSError, ValueError) as error:
      raise UserError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from error

  with heartbeat(f"reading the positions of images in {len(files)} files"), ThreadPoolExecutor(_FILES) as pool:
    return list(pool.map(one, files))
