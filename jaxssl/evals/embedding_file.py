"""Files of embeddings, .npz or .parquet, written in parts so that memory holds only one of them."""

import json
import pathlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxssl.core import atomic, json_io, paths
from jaxssl.core.errors import UserError

ENDINGS = (".npz", ".parquet")
META = "jaxssl"  # the name of the JSON that describes how a file was made
Read = Callable[[int, str], np.ndarray]  # (part, column) -> its rows


class Embeddings(NamedTuple):
  """The content of a file, without patch tokens."""

  features: np.ndarray  # float32 [n, f]
  path: np.ndarray  # text [n], relative to the folder or zip
  index: np.ndarray  # int64 [n], position in the source
  split: np.ndarray | None  # text [n]; None if there was only one
  label: np.ndarray | None  # text [n], the class, "" unknown; None without labels
  meta: Mapping[str, Any]


def check_name(file: pathlib.Path) -> None:
  """Raises UserError for a file that exists, or whose suffix is unknown."""
  if file.suffix not in ENDINGS:
    raise UserError(f"--out {file} is not allowed; it ends in {' or '.join(ENDINGS)}")
  if file.exists():
    raise UserError(f"--out {file} exists; remove it, or name another")


def write(file: pathlib.Path, columns: Sequence[str], parts: int, read: Read, meta: Mapping[str, Any]) -> None:
  """Writes the columns of all parts, in order; the file appears when it is complete."""
  with atomic.replacing(file) as temporary:
    (_write_npz if file.suffix == ".npz" else _write_parquet)(temporary, columns, parts, read, json.dumps(meta))


def _write_npz(file: pathlib.Path, columns: Sequence[str], parts: int, read: Read, meta: str) -> None:
  rows = sum(len(read(part, "index")) for part in range(parts))
  with zipfile.ZipFile(file, "w") as archive:

    def add(name: str, like: np.ndarray, shape: tuple[int, ...], pieces: Callable[[], Any]) -> None:
      with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:  # without a date
        header = {"descr": np.lib.format.dtype_to_descr(like.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        for piece in pieces():
          member.write(np.ascontiguousarray(piece, like.dtype).data.cast("B") if piece.size else b"")

    for name in columns:
      first = read(0, name)
      if first.dtype.kind == "U":  # as wide as the longest
        first = max((read(part, name) for part in range(parts)), key=lambda x: x.dtype.itemsize)
      add(name, first, (rows, *first.shape[1:]), lambda name=name: (read(part, name) for part in range(parts)))
    text = np.array(meta)
    add(META, text, (), lambda: [text])


def _write_parquet(file: pathlib.Path, columns: Sequence[str], parts: int, read: Read, meta: str) -> None:
  import pyarrow as pa
  import pyarrow.parquet as pq

  def column(values: np.ndarray) -> Any:
    if values.dtype.kind == "U":  # file names need not be UTF-8, but text in parquet is
      return pa.array([text.encode(errors="surrogateescape").decode(errors="replace") for text in values.tolist()], pa.string())
    if values.ndim == 1:
      return pa.array(values)
    width = int(np.prod(values.shape[1:]))
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), width)

  schema = pa.schema([(name, column(read(0, name)).type) for name in columns]).with_metadata({META: meta})
  few: Any = [name for name in columns if name in ("split", "label")]
  with pq.ParquetWriter(file, schema, use_dictionary=few) as writer:
    for part in range(parts):
      writer.write_table(pa.table([column(read(part, name)) for name in columns], schema=schema))


def load(file: pathlib.Path) -> Embeddings:
  """Reads a file. Raises UserError if `jaxssl embed` did not write it."""
  try:
    with paths.local_copy(file) as here:
      found, meta = (_load_parquet if file.suffix == ".parquet" else _load_npz)(here)
    rest = {name: found.get(name) for name in ("split", "label")}
    made = Embeddings(found["features"], found["path"], found["index"], **rest, meta=json_io.parse(meta))
    columns = [x for x in made[1:5] if x is not None]
    if made.features.ndim != 2 or made.features.dtype != np.float32 or any(x.shape != made.features.shape[:1] for x in columns):
      raise ValueError("columns of other shapes")
    return made
  except FileNotFoundError as error:
    raise UserError(f"{file} does not exist") from error
  except Exception as error:  # zipfile, numpy and pyarrow raise nearly any type on a damaged file
    raise UserError(f"{file} is no file of embeddings as `jaxssl embed` writes them") from error


def _load_npz(file: pathlib.Path) -> tuple[dict[str, np.ndarray], str]:
  with file.open("rb") as opened, np.load(opened, allow_pickle=False) as found:
    return {name: found[name] for name in found.files if name not in (META, "patches")}, str(found[META])


def _load_parquet(file: pathlib.Path) -> tuple[dict[str, np.ndarray], str]:
  import pyarrow.parquet as pq

  with pq.ParquetFile(file) as opened:
    schema = opened.schema_arrow
    table = opened.read(columns=[name for name in schema.names if name != "patches"])
  found = {name: table[name].to_numpy() for name in table.column_names if name != "features"}
  found = {name: values.astype(str) if values.dtype == object else values for name, values in found.items()}
  features = table["features"].combine_chunks()
  found["features"] = features.flatten().to_numpy().reshape(len(features), -1)
  return found, schema.metadata[META.encode()].decode()
