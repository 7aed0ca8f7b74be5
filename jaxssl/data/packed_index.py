"""The index of a packed split: a memory-mapped table with the place, checksum, label, size and name of every image."""

import mmap
import pathlib
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxssl.core import UserError

_MAGIC = b"jaxssl index 1\0\0"
_HEADER = struct.Struct("<16sQQ8I")  # magic, number of images, bytes of names; CRC-32 of each column and of the names
_NAMES = "names"
COLUMNS: Mapping[str, Any] = {  # by column: what is stored for each image, one column after the other
  "offset": "<u8",  # of its first byte in its shard
  "length": "<u4",  # bytes
  "crc": "<u4",  # CRC-32 of the bytes
  "label": "<i4",  # -1 if unknown
  "height": "<u2",  # of a JPEG as `Decoder.jpeg_size` returns it for 1 or 3 channels; otherwise 0
  "width": "<u2",
  "end": "<u8",  # where its name ends among the names, behind its zero byte; 0 if images have no names
}
BYTES_PER_IMAGE = sum(np.dtype(kind).itemsize for kind in COLUMNS.values())  # without its name
_BLOCK = 2**16  # names that are gathered at a time


class PackedIndex:
  """The table of `images` images in the file `path`, of which a column is read, and checked, when it is used.

  Raises OSError or ValueError for another kind of file; its methods raise UserError for a damaged column.
  """

  def __init__(self, path: str, images: int):
    self._path, self._images = path, images
    with open(path, "rb") as file:
      content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    magic, count, names, *crcs = _HEADER.unpack_from(content)
    if magic != _MAGIC or count != images or len(content) != file_bytes(count, names):
      raise ValueError("it is damaged, or of another version of jaxssl")
    at, self._columns = _HEADER.size, dict[str, np.ndarray]()
    for name, kind in {**COLUMNS, _NAMES: "u1"}.items():
      self._columns[name] = np.frombuffer(content, kind, names if name == _NAMES else count, at)
      at += self._columns[name].nbytes
    self._unchecked = dict(zip(self._columns, crcs, strict=True))
    self._offset, self._length, self._crc = (self._columns[name] for name in ("offset", "length", "crc"))

  def __reduce__(self) -> Any:
    return PackedIndex, (self._path, self._images)

  def __len__(self) -> int:
    return self._images

  def column(self, name: str) -> np.ndarray:
    """Returns a column by its name in COLUMNS, [n], which cannot be written to."""
    crc = self._unchecked.get(name)  # None also if another thread has checked it meanwhile
    if crc is not None:
      if zlib.crc32(self._columns[name].view(np.uint8)) != crc:  # type: ignore[arg-type]
        raise UserError(f"{self._path} is damaged: the checksum of its column {name} differs; copy it again, or pack again")
      self._unchecked.pop(name, None)
    return self._columns[name]

  def place(self, k: int) -> tuple[int, int, int]:
    """Returns offset, length and CRC-32 of image `k`; the bytes there show whether they are right."""
    return int(self._offset[k]), int(self._length[k]), int(self._crc[k])

  @property
  def has_names(self) -> bool:
    """Whether the images have names."""
    return bool(len(self._columns[_NAMES]))

  def name(self, k: int) -> str:
    """Returns the name of image `k`; bytes that are not UTF-8 become lone surrogates."""
    names, end = self.column(_NAMES), self.column("end")
    return names[int(end[k - 1]) if k else 0 : int(end[k]) - 1].tobytes().decode(errors="surrogateescape")

  def names_at(self, rows: np.ndarray) -> bytes:
    """Returns the names of the images at `rows`, int [m], each followed by a zero byte."""
    names, end = self.column(_NAMES), self.column("end")
    if len(rows) == len(self) and np.array_equal(rows, np.arange(len(self))):
      return names.tobytes()
    return b"".join(_gathered(names, end, rows[k : k + _BLOCK]) for k in range(0, len(rows), _BLOCK))


def _gathered(names: np.ndarray, end: np.ndarray, rows: np.ndarray) -> bytes:
  starts, ends = np.where(rows > 0, end[rows - 1], 0).astype(np.int64), end[rows].astype(np.int64)
  lengths = ends - starts
  shifts = starts - np.concatenate([[0], np.cumsum(lengths)[:-1]])  # from places in the result to places among the names
  return names[np.repeat(shifts, lengths) + np.arange(lengths.sum())].tobytes()


def file_bytes(images: int, names: int) -> int:
  """Returns the size of the index of so many images whose names have so many bytes."""
  return _HEADER.size + images * BYTES_PER_IMAGE + names


def write(path: pathlib.Path, columns: Mapping[str, np.ndarray], names: bytes | None) -> None:
  """Writes an index. `columns`: all of COLUMNS except "end"; `names`: each followed by a zero byte, or None."""
  count, names = len(columns["offset"]), names or b""
  ends = np.flatnonzero(np.frombuffer(names, np.uint8) == 0) + 1 if names else np.zeros(count, np.int64)
  assert len(ends) == count, "a name holds a zero byte"
  parts = [(ends if name == "end" else columns[name]).astype(kind).tobytes() for name, kind in COLUMNS.items()] + [names]
  with path.open("wb") as file:
    file.write(_HEADER.pack(_MAGIC, count, len(names), *map(zlib.crc32, parts)))
    file.writelines(parts)
