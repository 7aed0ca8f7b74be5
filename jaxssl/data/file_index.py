"""An index of the images under a folder, which holds their names as arrays and reads their bytes."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from jaxssl.core import UserError, paths, retry, storage_errors
from jaxssl.core.storage_errors import Kind
from jaxssl.data.file_kinds import DecodeError, UnsupportedImage

_MAX_BYTES = 2**30  # per file; a larger one is a mistake or an attack
_STATS = 16  # requests for sizes at the same time
_UNREAD = -2  # of a size


class FileIndex:
  """The images under `root`, sorted by folder, then by name: about 50 bytes per image.

  folders: relative, with "/" between names, sorted; "" is the root. folder: int32 [n], the position of each image's folder.
  """

  def __init__(self, root: str, files: dict[str, list[bytes]]):
    """Takes the names of the images by folder out of `files`."""
    folders = tuple(sorted(files))
    counts = np.array([len(files[folder]) for folder in folders], np.int64)
    names, lengths = bytearray(), [np.zeros(0, np.int32)]
    for folder in folders:
      own = files.pop(folder)  # so that the memory of one folder at a time is used twice
      own.sort()
      names += b"".join(own)
      lengths.append(np.fromiter(map(len, own), np.int32, len(own)))
    self._set(root, folders, counts, names, np.concatenate(lengths))

  @classmethod
  def of_names(cls, root: str, folders: tuple[str, ...], counts: np.ndarray, names: bytes, lengths: np.ndarray) -> "FileIndex":
    """Makes an index of names that are sorted already. counts: int [m], images of each folder; lengths: int [n], of names."""
    index = cls.__new__(cls)
    index._set(root, folders, counts, names, lengths)
    return index

  def _set(
    self, root: str, folders: tuple[str, ...], counts: np.ndarray, names: bytes | bytearray, lengths: np.ndarray
  ) -> None:
    self.root, self.folders = root, folders
    self.folder = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    self._sizes = np.full(len(self.folder), _UNREAD, np.int64)
    self._names, self._ends = names, np.cumsum(np.append(0, lengths), dtype=np.int64)

  def packed_names(self) -> tuple[bytes, np.ndarray]:
    """Returns the names of all images within their folders, joined, and their lengths, int [n]."""
    return bytes(self._names), np.diff(self._ends)

  def __len__(self) -> int:
    return len(self.folder)

  def name(self, k: int) -> str:
    """Returns the name of image `k` relative to the root, with "/"; bytes that are not UTF-8 become lone surrogates."""
    name = self._names[self._ends[k] : self._ends[k + 1]].decode(errors="surrogateescape")
    folder = self.folders[self.folder[k]]
    return f"{folder}/{name}" if folder else name

  def where(self, k: int) -> str:
    """Returns the full name of image `k`; within a zip, after the name of the zip."""
    return os.path.join(self.root, self.name(k))

  def read(self, k: int) -> bytes:
    """Returns the bytes of image `k`, from any thread.

    Raises OSError, ValueError (damaged, not a file), UnsupportedImage, or Unavailable if the storage does not respond.
    """
    try:
      return read_file(path := self.where(k))
    except OSError as error:
      if storage_errors.kind_of(error) is not Kind.ABSENT or self._is_there():
        raise
      return retry.call(f"reading {path}", self._read_if_there, path)

  def _read_if_there(self, path: str) -> bytes:
    if not self._is_there():
      raise TimeoutError(f"{self.root} is gone or empty; is its disk mounted?")
    return read_file(path)

  def _is_there(self) -> bool:
    """Returns whether the root is still a folder that is not empty, unlike that of a network disk that is not mounted."""
    if self.root.startswith(paths.BUCKET):
      return True
    try:
      with os.scandir(self.root) as entries:
        return next(entries, None) is not None
    except OSError as error:
      return storage_errors.kind_of(error) is not Kind.ABSENT

  def sizes(self, positions: np.ndarray) -> np.ndarray:
    """Returns the sizes of the files at `positions` in bytes, int64 [m]; -1 for files that are gone and for buckets."""
    if self.root.startswith(paths.BUCKET):  # each size would be a request
      return np.full(len(positions), -1)
    unknown = positions[self._sizes[positions] == _UNREAD]
    with ThreadPoolExecutor(_STATS) as pool:  # each waits for the disk, which may be in a network
      for part in pool.map(self._stat, np.array_split(unknown, _STATS)):
        self._sizes[part[0]] = part[1]
    return self._sizes[positions]

  def _stat(self, positions: np.ndarray) -> tuple[np.ndarray, list[int]]:
    return positions, [size_of(self.where(k)) for k in positions.tolist()]


def read_file(path: str) -> bytes:
  """Returns the bytes of a file, from any thread.

  Raises OSError, ValueError (not a file), UnsupportedImage (too large), or Unavailable if the storage does not respond.
  """
  if path.startswith(paths.BUCKET):
    return paths.read(path)
  return retry.call(f"reading {path}", _read_local, path)


def read_error(error: Exception, name: str) -> UserError:
  """Returns the error for an image that could not be read: DecodeError if its file is absent, or is damaged (ValueError).

  Any other reason, such as a lack of permission, may hold for many images, e.g. for all of a class, and stops the run.
  """
  if isinstance(error, MemoryError):
    return UnsupportedImage(f"{name}: too little memory to read it; cut it into tiles")
  kind, text = storage_errors.kind_of(error), f"{name}: {getattr(error, 'strerror', None) or error}"
  if kind is Kind.ABSENT or isinstance(error, ValueError):
    return DecodeError(text)
  remedy = "; make it readable for this user, or remove it" if kind is Kind.REFUSED else ""
  return UnsupportedImage(text + remedy)


def _read_local(path: str) -> bytes:
  # does not wait for the writer of a pipe
  with open(path, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
      raise ValueError("not a file but a folder, a pipe or a device")
    check_size(status.st_size, path)
    return file.read()


def size_of(path: str) -> int:
  """Returns the size of a file in bytes, -1 if it is gone. Raises Unavailable if the storage does not respond."""
  try:
    return retry.call(f"looking for {path}", os.stat, path).st_size
  except OSError:
    return -1


def check_size(size: int, name: str) -> None:
  """Raises UnsupportedImage for a file that is too large."""
  if size > _MAX_BYTES:
    raise UnsupportedImage(f"{name}: larger than {_MAX_BYTES} bytes, the limit for a file; cut the image into tiles")
