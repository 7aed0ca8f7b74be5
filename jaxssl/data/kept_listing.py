"""Keeps the list of a bucket's images in the workdir of a run, so that the run does not list the bucket at every start."""

import contextlib
import contextvars
import datetime
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxssl.core import LOG, atomic, paths
from jaxssl.data.file_index import FileIndex
from jaxssl.workdir.manifest import MAX_BYTES
from jaxssl.workdir.workdir import Workdir

_workdir: contextvars.ContextVar[tuple[Workdir, bool] | None] = contextvars.ContextVar("workdir of lists", default=None)


@contextlib.contextmanager
def kept_in(workdir: Workdir, again: bool) -> Iterator[None]:
  """Keeps the lists of buckets that are made in the block in `workdir`, and uses those there unless they are made `again`."""
  token = _workdir.set((workdir, again))
  try:
    yield
  finally:
    _workdir.reset(token)


def listed(root: str, make: Callable[[], FileIndex]) -> FileIndex:
  """Returns the index of a bucket's folder that the run has kept; otherwise makes it, and keeps it."""
  workdir, again = _workdir.get() or (None, False)
  if workdir is None:
    return make()
  path = workdir.listing(root)
  if not again and path.exists():
    try:
      index, date = unpacked(root, zlib.decompressobj().decompress(paths.read_bytes(path), MAX_BYTES))
    except (OSError, ValueError, zlib.error, MemoryError, OverflowError, RecursionError) as error:
      LOG.warning("%s cannot be read (%s): %s is listed again", path, error, root)
    else:
      text = "%s: %d images, as listed when the run started, %s; --accept-changes lists it again"
      LOG.info(text, root, len(index), date)
      return index
  index = make()
  with atomic.replacing(path) as temporary:
    temporary.write_bytes(zlib.compress(packed(index), 1))
  return index


def packed(index: FileIndex) -> bytes:
  """Returns the names of an index as bytes."""
  counts = np.bincount(index.folder, minlength=len(index.folders)).tolist()
  now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
  header = json.dumps({"folders": index.folders, "counts": counts, "date": now}).encode()
  names, lengths = index.packed_names()
  return b"".join([len(header).to_bytes(8, "little"), header, lengths.astype("<i4").tobytes(), names])


def unpacked(root: str, content: bytes) -> tuple[FileIndex, str]:
  """Returns the index of `packed`, and its date. Raises ValueError for damaged content, and for names outside of `root`."""
  size = int.from_bytes(content[:8], "little")
  header = json.loads(content[8 : 8 + size])
  folders, counts, date = _list(header, "folders", str), _list(header, "counts", int), header.get("date")
  if not isinstance(date, str) or len(folders) != len(counts) or min(counts, default=0) < 0:
    raise ValueError("it is damaged")
  if any(folder.startswith("/") or ".." in folder.split("/") for folder in folders):
    raise ValueError("it is damaged")
  lengths = np.frombuffer(content, "<i4", sum(counts), 8 + size)
  names = content[8 + size + lengths.nbytes :]
  if lengths.min(initial=1) < 1 or lengths.sum(dtype=np.int64) != len(names) or b"/" in names or b"\0" in names:
    raise ValueError("it is damaged")
  return FileIndex.of_names(root, tuple(folders), np.array(counts), names, lengths), date


def _list(header: Any, name: str, kind: type) -> list:
  values = header.get(name) if isinstance(header, dict) else None
  if not isinstance(values, list) or not all(type(value) is kind for value in values):
    raise ValueError("it is damaged")
  return values
