"""An index of the images in a zip, which is read in place."""

import array
import mmap
import os
import struct
import weakref
import zlib
from typing import Any

import numpy as np

from jaxssl.core import retry, storage_errors
from jaxssl.data.file_index import FileIndex, check_size
from jaxssl.data.file_kinds import UnsupportedImage
from jaxssl.data.file_sorter import FileSorter

# The records of a zip (APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12, 4.3.14, 4.3.16, 4.5.3): those of their fields that matter
_ENTRY = struct.Struct("<4s24x3H12x")  # signature; lengths of name, extra field and comment
_FIELDS = np.dtype(
  {
    "names": ["flags", "method", "crc", "packed", "size", "name", "extra", "offset"],
    "formats": ["<u2", "<u2", "<u4", "<u4", "<u4", "<u2", "<u2", "<u4"],
    "offsets": [8, 10, 16, 20, 24, 28, 30, 42],
    "itemsize": 46,
  }
)
_END, _END_64 = struct.Struct("<12x2L2x"), struct.Struct("<40x2Q")
_LOCAL_HEADER = 30  # bytes, of which the last four are two lengths
_LONGEST_COMMENT = 2**16
_IN_EXTRA_FIELD = 2**32 - 1  # stands for a number of 64 bits
_STORED, _DEFLATED = 0, 8
_AT_ONCE = 2**16  # entries
_FLAGS = os.O_RDONLY | os.O_NONBLOCK  # does not wait for the writer of a pipe


class ZipIndex(FileIndex):
  """The images in a zip: about 70 bytes per image."""

  def __init__(self, root: str, sorter: FileSorter):
    """Reads the directory at the end of a zip. Raises OSError, or ValueError if it is damaged or of an unsupported kind."""
    self._file = os.open(root, _FLAGS)
    weakref.finalize(self, os.close, self._file)
    self._opened = _identity(self._file)
    with mmap.mmap(self._file, 0, access=mmap.ACCESS_READ) as file:
      entries, shift, places = _images(file, sorter)
      order = [_sort(sorter.files[folder], np.asarray(places[folder])) for folder in sorted(places)]
      super().__init__(root, sorter.files)
      at = entries[np.concatenate(order or [np.zeros(0, np.int64)])]
      self._numbers, self._offset, self._deflated = _fields(file, at, shift)

  def read(self, k: int) -> bytes:
    """Returns the bytes of image `k`, from any thread.

    Raises OSError, ValueError (damaged), UnsupportedImage, or Unavailable if the storage does not respond.
    """
    return retry.call(f"reading {self.root}", self._read, k)

  def _read(self, k: int) -> bytes:
    offset, (crc, packed, size) = int(self._offset[k]), self._numbers[k].tolist()
    check_size(max(packed, size), self.where(k))  # a few bytes may expand to terabytes
    try:
      header = self._at(offset, _LOCAL_HEADER)
      lengths = struct.unpack("<2H", header[-4:])
      data = self._at(offset + _LOCAL_HEADER + sum(lengths), packed)
      data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1) if self._deflated[k] else data
    except (struct.error, zlib.error) as error:
      raise ValueError(f"damaged in the zip: {error}") from error
    if len(data) != size or zlib.crc32(data) != crc:
      raise ValueError("damaged in the zip: its length or its checksum differs")
    return data

  def _at(self, offset: int, size: int) -> bytes:
    """Reads `size` bytes, fewer at the end of the file. After a transient error the next read uses the file anew."""
    data = b""
    try:
      while len(data) < size and (part := os.pread(self._file, size - len(data), offset + len(data))):
        data += part
    except OSError as error:
      if storage_errors.is_transient(error):  # a handle of a network disk may be stale for good
        self._reopen(self._file)
      raise
    return data

  def _reopen(self, number: int) -> None:
    """Opens the file with this number, which other threads may be using. Raises UnsupportedImage if it is another file now."""
    try:
      file = os.open(self.root, _FLAGS)
    except OSError as error:
      raise TimeoutError(f"{self.root} is gone: {error.strerror}") from error
    try:
      if _identity(file) != self._opened:
        raise UnsupportedImage(f"{self.root}: it has changed since it was opened; rerun the same command")
      os.dup2(file, number, inheritable=False)
    finally:
      os.close(file)

  def __getstate__(self) -> dict[str, Any]:
    return {name: value for name, value in vars(self).items() if name != "_file"}

  def __setstate__(self, state: dict[str, Any]) -> None:
    vars(self).update(state)
    self._file = retry.call(f"reading {self.root}", os.open, self.root, _FLAGS)
    weakref.finalize(self, os.close, self._file)
    if _identity(self._file) != self._opened:
      raise UnsupportedImage(f"{self.root}: it has changed since it was opened; rerun the same command")

  def sizes(self, positions: np.ndarray) -> np.ndarray:
    """Returns the sizes of the files at `positions` in bytes, uncompressed: int64 [m]."""
    return self._numbers[positions, 2].astype(np.int64)


def _identity(file: int) -> tuple[int, int]:
  """Returns what another file at the same path would hardly share: size and time of the last change."""
  status = os.fstat(file)
  return status.st_size, status.st_mtime_ns


def _sort(names: list[bytes], places: np.ndarray) -> np.ndarray:
  """Sorts names in place, and returns their places in the same order. Of equal names, the last one stays."""
  if all(map(bytes.__lt__, names, names[1:])):  # as most programs write them
    return places
  last = {name: place for place, name in enumerate(names)}
  names[:] = sorted(last)
  return places[[last[name] for name in names]]


def _images(file: mmap.mmap, sorter: FileSorter) -> tuple[np.ndarray, int, dict[str, array.array]]:
  """Gives the names of the images to `sorter`; returns where their entries are, int64 [n], and the places of each folder's.

  Also returns what to add to offsets. Names stay bytes, since millions are read. Raises ValueError if the directory is damaged.
  """
  entries, places = array.array("q"), dict[str, array.array]()
  folders = dict[bytes, tuple[list[bytes], array.array] | None]()  # as in the zip; None: not of the user
  endings = set[bytes]()  # of images
  try:
    at, end, shift = _directory(file)
    while at < end:
      signature, length, extra, comment = _ENTRY.unpack_from(file, at)
      if signature != b"PK\1\2":
        raise ValueError("its directory is damaged")
      entry, start = at, at + _ENTRY.size
      end_of_name = start + length
      at = end_of_name + extra + comment
      name = file[start:end_of_name]
      folder, _, base = (name.replace(b"\\", b"/") if b"\\" in name else name).rpartition(b"/")
      if folder not in folders:
        known = sorter.normalized(folder.decode(errors="surrogateescape"))
        both = None if known is None else (sorter.files.setdefault(known, []), places.setdefault(known, array.array("I")))
        folders[folder] = both
      if not base or (lists := folders[folder]) is None:
        continue
      ending = base[base.rfind(b".") :]
      if ending not in endings or base.startswith(b"."):
        if not sorter.is_image(base.decode(errors="surrogateescape")):
          continue
        endings.add(ending)
      lists[0].append(base)
      lists[1].append(len(entries))
      entries.append(entry)
  except struct.error as error:
    raise ValueError("it is cut off") from error
  for folder in [folder for folder, found in places.items() if not found]:
    del places[folder], sorter.files[folder]
  return np.asarray(entries), shift, places


def _fields(file: mmap.mmap, at: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Reads entries: CRC-32, packed size and size, uint32 [n, 3]; offset of the header, int64 [n]; whether deflated, bool [n].

  Raises ValueError for an image that is encrypted or compressed in an unsupported way.
  """
  numbers, offsets = np.zeros((len(at), 3), np.uint32), np.zeros(len(at), np.int64)
  deflated = np.zeros(len(at), bool)
  content = np.frombuffer(file, np.uint8)
  for first in range(0, len(at), _AT_ONCE):
    rows = slice(first, first + _AT_ONCE)
    part = content[at[rows, None] + np.arange(_FIELDS.itemsize)].view(_FIELDS)[:, 0]
    bad = np.flatnonzero((part["flags"] & 1) | ~np.isin(part["method"], (_STORED, _DEFLATED)))
    if len(bad):
      start = int(at[first + bad[0]]) + _FIELDS.itemsize
      name = file[start : start + int(part["name"][bad[0]])].decode(errors="replace")
      del content
      raise ValueError(f"{name} is encrypted or neither stored nor deflated; unpack it, and use the folder")
    numbers[rows] = np.stack([part[name] for name in ("crc", "packed", "size")], axis=1)
    offsets[rows], deflated[rows] = part["offset"], part["method"] == _DEFLATED
    values = np.stack([part[name] for name in ("size", "packed", "offset")], axis=1)
    for k in np.flatnonzero((values == _IN_EXTRA_FIELD).any(1)):
      start = int(at[first + k]) + _FIELDS.itemsize + int(part["name"][k])
      size, packed, offset = _wide(file[start : start + int(part["extra"][k])], *values[k].tolist())
      numbers[first + k, 1:] = min(packed, 2**32 - 1), min(size, 2**32 - 1)  # more is an error when it is read
      offsets[first + k] = offset
  return numbers, offsets + shift, deflated


def _directory(file: mmap.mmap) -> tuple[int, int, int]:
  """Returns where the entries begin and end, and what to add to their offsets, e.g. for a program before the zip."""
  end = file.rfind(b"PK\5\6", max(len(file) - _LONGEST_COMMENT - _END.size, 0))
  if end < 0:
    raise ValueError("it has no end record; it may be cut off")
  size, offset = _END.unpack_from(file, end)
  if file[end - 20 : end - 16] == b"PK\6\7":  # the locator of the record of a zip with numbers of 64 bits
    end = file.rfind(b"PK\6\6", 0, end - 20)
    size, offset = _END_64.unpack_from(file, max(end, 0))
  if not 0 <= offset <= end - size:
    raise ValueError("its directory is damaged")
  return end - size, end, end - size - offset


def _wide(extra: bytes, *numbers: int) -> list[int]:
  """Returns the numbers, those that do not fit in 32 bits read from the extra field 1, in which they follow each other."""
  at, wide = 0, iter(())
  while at + 4 <= len(extra):
    kind, length = struct.unpack_from("<2H", extra, at)
    if kind == 1:
      wide = iter(struct.unpack_from(f"<{length // 8}Q", extra, at + 4))
    at += 4 + length
  return [next(wide, number) if number == _IN_EXTRA_FIELD else number for number in numbers]
