"""Lists the images under a folder or in a zip, and reads their bytes."""

import os
import stat
import weakref
import zipfile
from collections.abc import Iterable

from jaxssl.core import LOG, UserError, heartbeat, paths
from jaxssl.data.image_io import ENDINGS

_MAX_BYTES = 2**30  # per uncompressed file; a larger one is a mistake or an attack


class Listing:
  """Sorted relative names of images (with /) in a folder, and access to their bytes. `skipped`: number of other files."""

  def __init__(self, root: str, names: Iterable[str], skipped: int):
    self.root, self.names, self.skipped = root, sorted(names), skipped

  def where(self, k: int) -> str:
    """Returns the full name of image `k`; within a zip, behind the name of the zip."""
    return os.path.join(self.root, self.names[k])

  def size(self, k: int) -> int:
    """Returns the size of image `k` in bytes; -1 if it is unknown, as in buckets."""
    try:
      return -1 if self.root.startswith(paths.BUCKET) else os.stat(self.where(k)).st_size
    except OSError:
      return -1

  def read(self, k: int) -> bytes:
    """Returns the bytes of image `k`, from any thread. Raises OSError, or ValueError for a damaged or special file."""
    if self.root.startswith(paths.BUCKET):
      return paths.read(self.where(k))
    # does not wait for the writer of a pipe
    with open(self.where(k), "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
      status = os.fstat(file.fileno())
      if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a file but a folder, a pipe or a device")
      _check_size(status.st_size)
      return file.read()


class _ZipListing(Listing):
  """The images in a zip, which is read in place."""

  def __init__(self, root: str):
    file = open(root, "rb")
    weakref.finalize(self, file.close)
    self._archive = zipfile.ZipFile(file)  # it would count the readers of a file that it opened, not safely with threads
    self._members, skipped = {}, 0
    for info in self._archive.infolist():
      parts = [part for part in info.filename.replace("\\", "/").split("/") if part not in ("", ".", "..")]
      if info.is_dir():
        continue
      if not parts or any(map(_hidden, parts)) or not parts[-1].lower().endswith(ENDINGS):
        skipped += 1
        continue
      if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile(f"{info.filename} is encrypted or neither stored nor deflated")
      self._members["/".join(parts)] = info
    super().__init__(root, self._members, skipped)

  def size(self, k: int) -> int:
    return self._members[self.names[k]].file_size

  def read(self, k: int) -> bytes:
    member = self._members[self.names[k]]
    _check_size(member.file_size)
    try:
      with self._archive.open(member) as file:
        return file.read(member.file_size)  # a few bytes may expand to terabytes
    except Exception as error:  # zipfile raises almost any type for a damaged file
      raise ValueError(f"damaged in the zip: {str(error) or type(error).__name__}") from error


def _check_size(size: int) -> None:
  if size > _MAX_BYTES:
    raise ValueError(f"larger than {_MAX_BYTES} bytes, the limit for an image")


def list_images(path: str, field: str) -> Listing:
  """Lists the images under the folder or in the zip `path`.

  Raises UserError, which names `field`, if `path` is neither, is unreadable, or has no images.
  """
  root, listing = paths.absolute(path), None
  try:
    where = paths.path_of(root)
    with heartbeat(f"listing {root}"):
      if where.is_dir():
        listing = Listing(root, *_scan_folder(root))
      elif where.exists() and not paths.is_local(where):
        raise ValueError("buckets are supported for folders only")
      elif where.exists():
        listing = _ZipListing(root)
  except OSError as error:
    raise UserError(f"{field}={path}: cannot be listed: {error}") from error
  except Exception as error:  # zipfile raises almost any type for a damaged file
    raise UserError(f"{field}={path}: neither a folder nor a readable zip: {error}") from error
  if not listing:
    raise UserError(f"{field}={path}: does not exist")
  if not listing.names:
    raise UserError(f"{field}={path}: has no images; expected names ending in {' '.join(ENDINGS)}")
  if listing.skipped:
    LOG.info("%s: skipped %d hidden files and folders, and files that are not images", path, listing.skipped)
  return listing


def _scan_folder(root: str) -> tuple[list[str], int]:
  """Returns the names of the images in a folder, and the number of other files. Follows links, except to a parent folder."""
  remote = root.startswith(paths.BUCKET)  # no links; the ending decides, without a request per image
  names, skipped = [], 0
  todo: list[tuple[str, frozenset]] = [("", frozenset())]
  while todo:
    folder, above = todo.pop()
    path = os.path.join(root, folder)
    if not remote:
      status = os.stat(path)
      if (status.st_dev, status.st_ino) in above:
        continue
      above |= {(status.st_dev, status.st_ino)}
    for entry in paths.path_of(path).iterdir() if remote else os.scandir(path):
      is_image = entry.name.lower().endswith(ENDINGS)
      if _hidden(entry.name):
        skipped += 1
      elif not (remote and is_image) and entry.is_dir():
        todo.append((folder + entry.name + "/", above))
      elif is_image:
        names.append(folder + entry.name)
      else:
        skipped += 1
  return names, skipped


def _hidden(name: str) -> bool:
  return name.startswith(".") or name == "__MACOSX"
