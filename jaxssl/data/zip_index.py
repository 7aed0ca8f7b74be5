"""An index of the images in a zip, which is read in place."""

import array
import mmap
import os
import struct
import weakref
import zlib
from collections.abc import Iterator

import numpy as np

from jaxssl.data.file_index import FileIndex, check_size
from jaxssl.data.file_sorter import FileSorter

# The records of a zip (APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12, 4.3.14, 4.3.16, 4.5.3): those of their fields that matter
_ENTRY = struct.Struct("<4s4x2H4x3L3H8xL")
_END, _END_64 = struct.Struct("<12x2L2x"), struct.Struct("<40x2Q")
_LOCAL_HEADER = 30  # bytes, of which the last four are two lengths
_LONGEST_COMMENT = 2**16
_IN_EXTRA_FIELD = 2**32 - 1  # stands for a number of 64 bits
_STORED, _DEFLATED = 0, 8


class ZipIndex(FileIndex):
  """The images in a zip: about 70 bytes per image."""

  def __init__(self, root: str, sorter: FileSorter):
    """Reads the directory at the end of a zip. Raises OSError, or ValueError if it is damaged or of an unsupported kind."""
    self._file = os.open(root, os.O_RDONLY | os.O_NONBLOCK)  # does not wait for the writer of a pipe
    weakref.finalize(self, os.close, self._file)
    with mmap.mmap(self._file, 0, access=mmap.ACCESS_READ) as file:
      offsets, methods, places = array.array("q"), array.array("B"), dict[str, array.array]()
      numbers = array.array("I")  # CRC-32, packed size and size of each image
      folders = dict[str, str | None]()  # as in the zip -> normalized; None: not of the user
      for name, method, crc, packed, size, offset in _entries(file):
        folder, _, base = name.replace("\\", "/").rpartition("/")
        if folder not in folders:
          folders[folder] = _normalized(folder, sorter)
        if not base or (known := folders[folder]) is None or not sorter.is_image(base):
          continue
        if method not in (_STORED, _DEFLATED):
          raise ValueError(f"{name} is encrypted or neither stored nor deflated; unpack it, and use the folder")
        sorter.files.setdefault(known, []).append(base.encode(errors="surrogateescape"))
        places.setdefault(known, array.array("I")).append(len(methods))
        methods.append(method)
        numbers.extend((crc, min(packed, 2**32 - 1), min(size, 2**32 - 1)))  # more is an error when it is read
        offsets.append(offset)
    order = [_sort(sorter.files[folder], np.asarray(places[folder])) for folder in sorted(places)]
    super().__init__(root, sorter.files)
    row = np.concatenate(order or [np.zeros(0, np.int64)])
    self._numbers, self._offset = np.asarray(numbers).reshape(-1, 3)[row], np.asarray(offsets)[row]
    self._deflated = np.asarray(methods)[row] == _DEFLATED

  def read(self, k: int) -> bytes:
    """Returns the bytes of image `k`, from any thread. Raises OSError, ValueError (damaged) or UnsupportedImage."""
    offset, (crc, packed, size) = int(self._offset[k]), self._numbers[k].tolist()
    check_size(max(packed, size), self.where(k))  # a few bytes may expand to terabytes
    try:
      header = os.pread(self._file, _LOCAL_HEADER, offset)
      lengths = struct.unpack("<2H", header[-4:])
      data = os.pread(self._file, packed, offset + _LOCAL_HEADER + sum(lengths))
      data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1) if self._deflated[k] else data
    except (struct.error, zlib.error) as error:
      raise ValueError(f"damaged in the zip: {error}") from error
    if len(data) != size or zlib.crc32(data) != crc:
      raise ValueError("damaged in the zip: its length or its checksum differs")
    return data

  def sizes(self, positions: np.ndarray) -> np.ndarray:
    """Returns the sizes of the files at `positions` in bytes, uncompressed: int64 [m]."""
    return self._numbers[positions, 2].astype(np.int64)


def _sort(names: list[bytes], places: np.ndarray) -> np.ndarray:
  """Sorts names in place, and returns their places in the same order. Of equal names, the last one stays."""
  if all(map(bytes.__lt__, names, names[1:])):  # as most programs write them
    return places
  last = {name: place for place, name in enumerate(names)}
  names[:] = sorted(last)
  return places[[last[name] for name in names]]


def _normalized(folder: str, sorter: FileSorter) -> str | None:
  """Returns the folder without empty parts and parts that point elsewhere; None for a hidden one or one of a system."""
  parts = [part for part in folder.split("/") if part not in ("", ".", "..")]
  return None if any([sorter.is_left_out(part) for part in parts]) else "/".join(parts)


def _entries(file: mmap.mmap) -> Iterator[tuple]:
  """Yields name, method (-1: encrypted), CRC-32, packed size, size, and offset of the header, for each entry.

  Raises ValueError if the directory is damaged.
  """
  try:
    at, end, shift = _directory(file)
    while at < end:
      signature, flags, method, crc, packed, size, *lengths, offset = _ENTRY.unpack_from(file, at)
      if signature != b"PK\1\2":
        raise ValueError("its directory is damaged")
      start = at + _ENTRY.size
      name_end = start + lengths[0]
      at = start + sum(lengths)
      if _IN_EXTRA_FIELD in (packed, size, offset):
        size, packed, offset = _wide(file[name_end : name_end + lengths[1]], size, packed, offset)
      name = file[start:name_end].decode(errors="surrogateescape")
      yield name, -1 if flags & 1 else method, crc, packed, size, offset + shift
  except struct.error as error:
    raise ValueError("it is cut off") from error


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
