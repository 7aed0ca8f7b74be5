"""The index of a packed split: a memory-mapped table with the place, checksum, label, size and name of every image."""

import mmap
import pathlib
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

_MAGIC = b"jaxssl index 1\0\0"
_HEADER = struct.Struct("<16sQQ32x")  # magic, number of images, bytes of names
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
  """The table of `images` images in the file `path`, whose pages are read when they are used. Raises OSError or ValueError."""

  def __init__(self, path: str, images: int):
    self._path, self._images = path, images
    with open(path, "rb") as file:
      content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    magic, count, names = _HEADER.unpack_from(content)
    if magic != _MAGIC or count != images or len(content) != file_bytes(count, names):
      raise ValueError("it is damaged, or of another version of jaxssl")
    at, self._columns = _HEADER.size, dict[str, np.ndarray]()
    for name, kind in COLUMNS.items():
      self._columns[name] = np.frombuffer(content, kind, count, at)
      at += self._columns[name].nbytes
    self._names = np.frombuffer(content, np.uint8, names, at)
    self._offset, self._length, self._crc = (self._columns[name] for name in ("offset", "length", "crc"))

  def __reduce__(self) -> Any:
    return PackedIndex, (self._path, self._images)

  def __len__(self) -> int:
    return self._images

  def column(self, name: str) -> np.ndarray:
    """Returns a column by its name in COLUMNS, [n], which cannot be written to."""
    return self._columns[name]

  def place(self, k: int) -> tuple[int, int, int]:
    """Returns offset, length and CRC-32 of image `k`."""
    return int(self._offset[k]), int(self._length[k]), int(self._crc[k])

  @property
  def has_names(self) -> bool:
    """Whether the images have names."""
    return bool(len(self._names))

  def name(self, k: int) -> str:
    """Returns the name of image `k`; bytes that are not UTF-8 become lone surrogates."""
    end = self._columns["end"]
    return self._names[int(end[k - 1]) if k else 0 : int(end[k]) - 1].tobytes().decode(errors="surrogateescape")

  def names_at(self, rows: np.ndarray) -> bytes:
    """Returns the names of the images at `rows`, int [m], each followed by a zero byte."""
    if len(rows) == len(self) and np.array_equal(rows, np.arange(len(self))):
      return self._names.tobytes()
    return b"".join(self._gathered(rows[k : k + _BLOCK]) for k in range(0, len(rows), _BLOCK))

  def _gathered(self, rows: np.ndarray) -> bytes:
    end = self._columns["end"]
    starts, ends = np.where(rows > 0, end[rows - 1], 0).astype(np.int64), end[rows].astype(np.int64)
    lengths = ends - starts
    shifts = starts - np.concatenate([[0], np.cumsum(lengths)[:-1]])  # from places in the result to places among the names
    return self._names[np.repeat(shifts, lengths) + np.arange(lengths.sum())].tobytes()


def file_bytes(images: int, names: int) -> int:
  """Returns the size of the index of so many images whose names have so many bytes."""
  return _HEADER.size + images * BYTES_PER_IMAGE + names


def write(path: pathlib.Path, columns: Mapping[str, np.ndarray], names: bytes | None) -> None:
  """Writes an index. `columns`: all of COLUMNS except "end"; `names`: each followed by a zero byte, or None."""
  count = len(columns["offset"])
  ends = np.zeros(count, np.int64) if names is None else np.flatnonzero(np.frombuffer(names, np.uint8) == 0) + 1
  assert len(ends) == count, "a name holds a zero byte"
  with path.open("wb") as file:
    file.write(_HEADER.pack(_MAGIC, count, len(names or b"")))
    for name, kind in COLUMNS.items():
      file.write((ends if name == "end" else columns[name]).astype(kind).tobytes())
    file.write(names or b"")
