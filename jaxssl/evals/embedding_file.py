"""Reads and writes files of embeddings, .npz or .parquet."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxssl.core import Unavailable, UserError, atomic, json_io, paths

META = "jaxssl"  # the name of the JSON that describes how a file was made


class Embeddings(NamedTuple):
  """The content of a file, without patch tokens."""

  features: np.ndarray  # float32 [n, f]
  path: np.ndarray  # text [n], relative to the folder or zip
  index: np.ndarray  # int64 [n], position in the source
  split: np.ndarray | None  # text [n]; None if there was only one
  label: np.ndarray | None  # text [n], the class, "" unknown; None without labels
  meta: Mapping[str, Any]


def write(file: pathlib.Path, columns: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
  """Writes columns, which may be memory maps; the file appears when it is complete."""
  with atomic.replacing(file) as temporary:
    if file.suffix == ".parquet":
      _write_parquet(temporary, columns, json.dumps(meta))
    else:
      with temporary.open("wb") as opened:
        np.savez(opened, **columns, **{META: np.array(json.dumps(meta))})  # type: ignore[arg-type]


def _write_parquet(file: pathlib.Path, columns: Mapping[str, np.ndarray], meta: str) -> None:
  import pyarrow as pa
  import pyarrow.parquet as pq

  def column(values: np.ndarray) -> Any:
    if values.dtype.kind == "U":  # file names need not be UTF-8, but text in parquet is
      return pa.array([text.encode(errors="surrogateescape").decode(errors="replace") for text in values.tolist()], pa.string())
    if values.ndim == 1:
      return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), int(np.prod(values.shape[1:])))

  schema = pa.schema([(name, column(values[:0]).type) for name, values in columns.items()]).with_metadata({META: meta})
  repeated: Any = [name for name in columns if name in ("split", "label")]
  with pq.ParquetWriter(file, schema, use_dictionary=repeated) as writer:
    size = 256 if "patches" in columns else 2048  # rows in memory at a time
    for start in range(0, len(columns["index"]), size):
      rows = [column(values[start : start + size]) for values in columns.values()]
      writer.write_table(pa.table(rows, schema=schema))


def load(file: pathlib.Path) -> Embeddings:
  """Reads a file. Raises UserError if `jaxssl embed` did not write it."""
  try:
    with paths.local_copy(file) as here:
      columns, meta = (_read_parquet if file.suffix == ".parquet" else _read_npz)(here)
    optional = {name: columns.get(name) for name in ("split", "label")}
    embeddings = Embeddings(columns["features"], columns["path"], columns["index"], **optional, meta=json_io.parse(meta))
    shapes = [x.shape for x in embeddings[1:5] if x is not None]
    if embeddings.features.ndim != 2 or embeddings.features.dtype != np.float32 or {*shapes} != {embeddings.features.shape[:1]}:
      raise ValueError("columns of other shapes or types")
    return embeddings
  except FileNotFoundError as error:
    raise UserError(f"{file} does not exist") from error
  except Unavailable:
    raise
  except Exception as error:  # zipfile, numpy and pyarrow raise nearly any type on a damaged file
    raise UserError(f"{file} is not a file of embeddings as `jaxssl embed` writes them") from error


def _read_npz(file: pathlib.Path) -> tuple[dict[str, np.ndarray], str]:
  with file.open("rb") as opened, np.load(opened, allow_pickle=False) as content:
    return {name: content[name] for name in content.files if name not in (META, "patches")}, str(content[META])


def _read_parquet(file: pathlib.Path) -> tuple[dict[str, np.ndarray], str]:
  import pyarrow.parquet as pq

  with pq.ParquetFile(file) as opened:
    schema = opened.schema_arrow
    table = opened.read(columns=[name for name in schema.names if name != "patches"])
  features = table["features"].combine_chunks()
  columns = {name: table[name].to_numpy() for name in table.column_names if name != "features"}
  columns = {name: values.astype(str) if values.dtype == object else values for name, values in columns.items()}
  columns["features"] = features.flatten().to_numpy().reshape(len(features), -1)
  return columns, schema.metadata[META.encode()].decode()
