"""Images at known places in a few large files: tar and TFRecord."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxssl.data.file_index import check_size, read_error
from jaxssl.data.file_kinds import DecodeError
from jaxssl.data.file_ranges import open_ranges
from jaxssl.data.image_io import Decoder
from jaxssl.data.labels import stored_labels
from jaxssl.data.record_files import joined, version_of
from jaxssl.data.source import Source


class NamedRecords(Source):
  """Images that are named by their files, if `use_names` gets a name for each."""

  _names: bytes | None = None  # each followed by a zero byte

  def use_names(self, names: Sequence[str | None]) -> None:
    """Sets the names of the images; uses none if one is missing or two are the same."""
    self._names = joined(names)
    self._ends = np.flatnonzero(np.frombuffer(self._names or b"", np.uint8) == 0)

  def describe(self, index: int) -> str:
    """Returns the name of the image behind that of the dataset, or the latter and a number."""
    name = self.relative_name(index)
    return super().describe(index) if name is None else f"{self.name}/{name}"

  def relative_name(self, index: int) -> str | None:
    """Returns the name that the file holds for the image; None if one has none, or two have the same."""
    if self._names is None:
      return None
    start = int(self._ends[index - 1]) + 1 if index else 0
    return self._names[start : self._ends[index]].decode(errors="surrogateescape")


class RecordSource(NamedRecords):
  """The images in `files`. `scans`: of each file, lists of equal length: offset, length, label (None: unknown), name or None.

  `names`: of the classes 0, 1, ..., if labels are numbers; `known`: the classes of the training images, for test images.
  """

  def __init__(
    self,
    name: str,
    files: Sequence[str],
    scans: Sequence[Mapping[str, Any]],
    decoder: Decoder,
    names: Sequence[str] = (),
    known: tuple[str, ...] = (),
  ):
    self.name, self._files, self._ranges = name, tuple(files), open_ranges(files)
    self._file = np.repeat(np.arange(len(files), dtype=np.int32), [len(scan["offset"]) for scan in scans])
    self._offset, self._length = (np.array(_all(scans, column), np.int64) for column in ("offset", "length"))
    self.use_names(_all(scans, "name"))
    self.use(decoder)
    labels = _all(scans, "label")
    if any(label is not None for label in labels):
      self.labels, self.classes = stored_labels(labels, len(labels), name, names, known)

  def __len__(self) -> int:
    return len(self._file)

  def encoded(self, index: int) -> bytes:
    """Returns the bytes of the image. Raises DecodeError, which names image and file."""
    file, length = int(self._file[index]), int(self._length[index])
    check_size(length, self.describe(index))
    try:
      data = self._ranges.read(file, int(self._offset[index]), length)
    except (OSError, MemoryError) as error:
      raise read_error(error, f"{self.describe(index)}: {self._files[file]}") from error
    if len(data) != length:
      raise DecodeError(f"{self.describe(index)}: {self._files[file]} ends within the image")
    return data

  def fingerprints(self, rows: np.ndarray) -> np.ndarray | None:
    """Returns the lengths in bytes, int64 [m], of images that have names."""
    return None if self._names is None else self._length[rows]

  def version(self) -> str | None:
    """Returns number, names and sizes of the files, if images have no names."""
    return None if self._names is not None else version_of(self._files)


def _all(scans: Sequence[Mapping[str, Any]], column: str) -> list[Any]:
  return [value for scan in scans for value in scan[column]]
