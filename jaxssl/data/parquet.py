"""Images in a column of Parquet files, as Hugging Face datasets are stored; read by row group."""

import collections
import json
import os
import re
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet as pq

from jaxssl.config.schema import DataConfig
from jaxssl.core import UserError, heartbeat, path_of, paths, retry
from jaxssl.data.file_index import read_error
from jaxssl.data.file_kinds import DecodeError
from jaxssl.data.image_io import Decoder
from jaxssl.data.labels import stored_labels
from jaxssl.data.record_files import open_sets, version_of
from jaxssl.data.record_source import NamedRecords
from jaxssl.data.source import register

PARQUET = re.compile(r"\.parquet$", re.IGNORECASE)
_IMAGES = ("image", "img", "jpg", "jpeg", "png")  # names of columns, the first first; otherwise the only one of images
_LABELS = ("label", "labels", "fine_label", "class", "cls", "target")
_GROUPS = 4  # row groups that a process keeps


class ParquetSource(NamedRecords):
  """The images in a column of `files`: bytes, or a struct of bytes and path. `known`: classes of the training images."""

  def __init__(self, name: str, files: Sequence[str], decoder: Decoder, known: tuple[str, ...] = ()):
    self.name, self._files = name, tuple(files)
    self._reset()
    schema = self._opened(0).schema_arrow
    self._column, labels = _image_column(schema, name), next((x for x in _LABELS if x in schema.names), None)
    for file in range(1, len(files)):
      _check_columns(self._opened(file).schema_arrow, schema, (self._column, labels), files[file], files[0])
    groups = [(f, g) for f in range(len(files)) for g in range(self._opened(f).metadata.num_row_groups)]
    counts = [self._opened(f).metadata.row_group(g).num_rows for f, g in groups]
    self._groups, self._group_ends = groups, np.cumsum(counts, dtype=np.int64)
    has_names = "path" in _parts(schema.field(self._column).type)
    with heartbeat(f"reading labels and names of {name}"):
      self.use_names(self._values(f"{self._column}.path") if has_names else [None])
      if labels:
        self.labels, self.classes = stored_labels(self._values(labels), len(self), name, _class_names(schema, labels), known)
    self.use(decoder)

  def __getstate__(self) -> dict[str, Any]:
    return {name: value for name, value in vars(self).items() if name not in ("_lock", "_tables", "_handles")}

  def __setstate__(self, state: dict[str, Any]) -> None:
    vars(self).update(state)
    self._reset()

  def _reset(self) -> None:
    self._process, self._lock = os.getpid(), threading.Lock()
    self._handles: dict[int, pq.ParquetFile] = {}
    self._tables = collections.OrderedDict[int, list[Any]]()

  def __len__(self) -> int:
    return int(self._group_ends[-1]) if len(self._group_ends) else 0

  def encoded(self, index: int) -> bytes:
    """Returns the bytes of the image. Raises DecodeError, which names the image."""
    group = int(np.searchsorted(self._group_ends, index, side="right"))
    file = self._files[self._groups[group][0]]
    try:
      cell = self._rows(group)[int(index - self._group_ends[group])]  # counted from the end
    except (OSError, MemoryError, pyarrow.ArrowException) as error:
      damaged = isinstance(error, OSError) and error.errno is None  # what pyarrow raises for content
      raise read_error(ValueError(str(error)) if damaged else error, f"{self.describe(index)}: {file}") from error
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if data is None:
      raise DecodeError(f"{self.describe(index)}: {file} has no bytes for it, perhaps a path only")
    return data

  def _rows(self, group: int) -> list[Any]:
    """Returns the images of a row group, of which the last few are kept. One thread reads at a time."""
    if self._process != os.getpid():
      self._reset()
    with self._lock:
      if group not in self._tables:
        file, number = self._groups[group]
        table = self._read(file, lambda opened: opened.read_row_group(number, columns=[self._column]))
        self._tables[group] = table.column(0).to_pylist()
        while len(self._tables) > _GROUPS:
          self._tables.popitem(last=False)
      self._tables.move_to_end(group)
      return self._tables[group]

  def _opened(self, file: int) -> pq.ParquetFile:
    if file not in self._handles:
      path = self._files[file]
      try:
        self._handles[file] = retry.call(f"reading {path}", _open, path)
      except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{path}: cannot be read: {error}; download it again") from error
    return self._handles[file]

  def _read(self, file: int, read: Callable[[pq.ParquetFile], pyarrow.Table]) -> pyarrow.Table:
    """Calls `read` with an open file, again if the storage does not respond."""

    def once() -> pyarrow.Table:
      try:
        return read(self._opened(file))
      except OSError:
        self._handles.pop(file, None)  # a handle of a network disk may be stale for good
        raise

    return retry.call(f"reading {self._files[file]}", once)

  def _values(self, column: str) -> list[Any]:
    """Reads a column of all files, without the images."""
    values = []
    for file in range(len(self._files)):
      table = self._read(file, lambda opened: opened.read(columns=[column]))
      values += table.flatten().column(0).to_pylist()
    return values

  def version(self) -> str:
    """Returns number, names and sizes of the files."""
    return version_of(self._files)


@register("parquet", ("path", "test_path"))
def open_parquet(config: DataConfig) -> tuple[ParquetSource, ParquetSource | None]:
  """Opens the Parquet files of `data.path`: train, and test or validation (None without either). Raises UserError."""

  def make(name: str, files: list[str], known: tuple[str, ...]) -> ParquetSource:
    return ParquetSource(name, files, Decoder.of(config), known)

  return open_sets(config, PARQUET, ".parquet", make)


def _open(path: str) -> pq.ParquetFile:
  return pq.ParquetFile(path_of(path).open("rb") if path.startswith(paths.BUCKET) else path)


def _check_columns(schema: pyarrow.Schema, first: pyarrow.Schema, columns: Sequence[str | None], file: str, other: str) -> None:
  """Raises UserError if a file lacks one of the columns that the first file, `other`, has, or holds something else in it."""
  for column in filter(None, columns):
    if column not in schema.names:
      problem = f"has no column {column}; it has {', '.join(schema.names)}"
    elif _parts(schema.field(column).type) != _parts(first.field(column).type):
      problem = f"column {column} is {schema.field(column).type}, but {first.field(column).type} in {other}"
    else:
      continue
    raise UserError(f"{file}: {problem}; expected the columns of {other}; set data.path to files that are alike, e.g. DIR/a-*")


def _parts(kind: Any) -> set[str]:
  """Returns which of bytes and path a column holds: those of a struct, "bytes" for bytes, none of anything else."""
  if pyarrow.types.is_struct(kind):
    return {field.name for field in kind} & {"bytes", "path"}
  return {"bytes"} if pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind) else set()


def _image_column(schema: pyarrow.Schema, where: str) -> str:
  def holds_bytes(kind: Any) -> bool:
    inner = kind.field("bytes").type if pyarrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
    return pyarrow.types.is_binary(inner) or pyarrow.types.is_large_binary(inner)

  columns = [field.name for field in schema if holds_bytes(field.type)]
  usual = [name for name in _IMAGES if name in columns]
  if not usual and len(columns) != 1:
    found = f"it has {', '.join(schema.names)}"
    raise UserError(f"{where}: no column is known to hold images; expected image, of bytes or of bytes and path; {found}")
  return (usual or columns)[0]


def _class_names(schema: pyarrow.Schema, column: str) -> list[str]:
  """Returns the names of the classes that Hugging Face stores in the metadata; none without them."""
  try:
    info = json.loads((schema.metadata or {})[b"huggingface"])["info"]
    return list(map(str, info["features"][column]["names"]))
  except (KeyError, TypeError, ValueError):
    return []
