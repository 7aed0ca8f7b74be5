"""An index of the images under a folder, which holds their names as arrays and reads their bytes."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from jaxssl.core import paths
from jaxssl.data.file_kinds import UnsupportedImage

_MAX_BYTES = 2**30  # per file; a larger one is a mistake or an attack
_STATS = 16  # requests for sizes at the same time
_NOT_ASKED = -2  # of a size


class FileIndex:
  """The images under `root`, sorted by folder, then by name: about 50 bytes per image.

  folders: relative, with "/" between names, sorted; "" is the root. folder: int32 [n], the position of each image's folder.
  """

  def __init__(self, root: str, files: dict[str, list[bytes]]):
    """Takes the names of the images by folder out of `files`."""
    self.root = root
    self.folders = tuple(sorted(files))
    counts = [len(files[folder]) for folder in self.folders]
    self.folder = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    names, lengths = bytearray(), [np.zeros(1, np.int32)]
    for folder in self.folders:
      own = files.pop(folder)  # so that the memory of one folder at a time is used twice
      own.sort()
      names += b"".join(own)
      lengths.append(np.fromiter(map(len, own), np.int32, len(own)))
    self._sizes = np.full(len(self.folder), _NOT_ASKED, np.int64)
    self._names, self._ends = names, np.cumsum(np.concatenate(lengths), dtype=np.int64)

  def __len__(self) -> int:
    return len(self.folder)

  def name(self, k: int) -> str:
    """Returns the name of image `k` relative to the root, with "/"; bytes that are not UTF-8 become lone surrogates."""
    name = self._names[self._ends[k] : self._ends[k + 1]].decode(errors="surrogateescape")
    folder = self.folders[self.folder[k]]
    return f"{folder}/{name}" if folder else name

  def where(self, k: int) -> str:
    """Returns the full name of image `k`; within a zip, behind the name of the zip."""
    return os.path.join(self.root, self.name(k))

  def read(self, k: int) -> bytes:
    """Returns the bytes of image `k`, from any thread. Raises OSError, ValueError (damaged, not a file) or UnsupportedImage."""
    return read_file(self.where(k))

  def sizes(self, positions: np.ndarray) -> np.ndarray:
    """Returns the sizes of the files at `positions` in bytes, int64 [m]; -1 for files that are gone and for buckets."""
    if self.root.startswith(paths.BUCKET):  # each size would be a request
      return np.full(len(positions), -1)
    unknown = positions[self._sizes[positions] == _NOT_ASKED]
    with ThreadPoolExecutor(_STATS) as pool:  # each waits for the disk, which may be in a network
      for part in pool.map(self._stat, np.array_split(unknown, _STATS)):
        self._sizes[part[0]] = part[1]
    return self._sizes[positions]

  def _stat(self, positions: np.ndarray) -> tuple[np.ndarray, list[int]]:
    return positions, [size_of(self.where(k)) for k in positions.tolist()]


def read_file(path: str) -> bytes:
  """Returns the bytes of a file, from any thread. Raises OSError, ValueError (not a file) or UnsupportedImage (too large)."""
  if path.startswith(paths.BUCKET):
    return paths.read(path)
  # does not wait for the writer of a pipe
  with open(path, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
      raise ValueError("not a file but a folder, a pipe or a device")
    check_size(status.st_size, path)
    return file.read()


def size_of(path: str) -> int:
  """Returns the size of a file in bytes, -1 if it is gone."""
  try:
    return os.stat(path).st_size
  except OSError:
    return -1


def check_size(size: int, name: str) -> None:
  """Raises UnsupportedImage for a file that is too large."""
  if size > _MAX_BYTES:
    raise UnsupportedImage(f"{name}: larger than {_MAX_BYTES} bytes, the limit for a file; cut the image into tiles")
