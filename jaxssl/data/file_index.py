"""Lists the images under a folder or in a zip, and caches the list in the user's cache folder."""

import hashlib
import json
import os
import pathlib
import stat
import time
import weakref
import zipfile
import zlib
from typing import NamedTuple

from jaxssl.core import atomic, cache, paths
from jaxssl.core.errors import UserError
from jaxssl.core.log import LOG, heartbeat
from jaxssl.data.image_io import ENDINGS

_FORMAT = 3  # of the cache files, a part of their names
_MAX_BYTES = 2**30  # per uncompressed file; a larger one is a mistake or an attack
_TICK = 0.02  # seconds: closer changes of a folder may have the same modification time


class Listing:
  """Sorted relative names of images (with /), and access to their bytes.

  `members`: for each name in a zip [offset of the header, stored bytes, method, CRC]; None for a folder.
  """

  def __init__(self, root: str, names: list[str], members: list[list[int]] | None):
    self.root, self.names, self.members = root, names, members
    if members is not None:
      self._descriptor = os.open(root, os.O_RDONLY)
      weakref.finalize(self, os.close, self._descriptor)

  def where(self, k: int) -> str:
    """Returns the full name of image `k`; within a zip, behind the name of the zip."""
    return os.path.join(self.root, self.names[k])

  def read(self, k: int) -> bytes:
    """Returns the bytes of image `k`, from any thread. Raises OSError, or ValueError for a damaged or special file."""
    if self.members is not None:
      return self._read_member(*self.members[k])
    if self.root.startswith(paths.BUCKET):
      return paths.read(self.where(k))
    # does not wait for the writer of a pipe
    with open(self.where(k), "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
      status = os.fstat(file.fileno())
      if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a file but a folder, a pipe or a device")
      _check_size(status.st_size)
      return file.read()

  def _read_member(self, offset: int, size: int, method: int, crc: int) -> bytes:
    """Reads at a position, without a lock or a ZipFile per thread, which takes a gigabyte for a million members."""
    if offset < 0 or offset + size > os.fstat(self._descriptor).st_size:
      raise ValueError("its position in the directory of the zip is outside of the zip")
    _check_size(size)
    header = os.pread(self._descriptor, 30, offset)
    if header[:4] != b"PK\3\4":
      raise ValueError("no zip member at its position in the directory of the zip")
    name, extra = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    data = os.pread(self._descriptor, size, offset + 30 + name + extra)
    if method == zipfile.ZIP_DEFLATED:
      try:
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, _MAX_BYTES + 1)  # a few bytes may expand to terabytes
      except zlib.error as error:
        raise ValueError(str(error)) from error
      _check_size(len(data))
    if zlib.crc32(data) != crc:
      raise ValueError("the checksum in the zip does not match")
    return data


def _check_size(size: int) -> None:
  if size > _MAX_BYTES:
    raise ValueError(f"larger than {_MAX_BYTES} bytes, the limit for an image")


class _Scan(NamedTuple):
  """The cached list. `stamp`: for each folder, or for the zip (""), its modification time in nanoseconds and size."""

  stamp: dict[str, list[int]]
  names: list[str]
  members: list[list[int]] | None
  skipped: int


def list_images(path: str, field: str) -> Listing:
  """Lists the images under the folder or in the zip `path`; uses the cache if nothing has changed.

  Raises UserError, which names `field`, if `path` is neither, is unreadable, or has no images.
  """
  root = paths.absolute(path)
  remote = root.startswith(paths.BUCKET)
  try:
    exists = (paths.path_of(root) if remote else pathlib.Path(root)).exists()
    with heartbeat(f"listing {root}"):
      scan = exists and (_scan_folder(root) if remote else _cached(root) or _scan_and_cache(root))
  except OSError as error:
    raise UserError(f"{field}={path}: cannot be listed: {error}") from error
  except Exception as error:  # zipfile raises almost any type for a damaged file
    raise UserError(f"{field}={path}: neither a folder nor a readable zip: {error}") from error
  if not scan:
    raise UserError(f"{field}={path}: does not exist")
  if not scan.names:
    raise UserError(f"{field}={path}: has no images; expected names ending in {' '.join(ENDINGS)}")
  if scan.skipped:
    LOG.info("%s: skipped %d hidden files and folders, and files that are not images", path, scan.skipped)
  return Listing(root, scan.names, scan.members)


def _scan_folder(root: str) -> _Scan:
  """Lists a folder. Follows links, except to a parent folder."""
  remote = root.startswith(paths.BUCKET)  # no stamps or links; the ending decides, without a request per image
  if remote and not paths.path_of(root).is_dir():
    raise ValueError("buckets are supported for folders only")
  stamp, names, skipped = {}, [], 0
  todo: list[tuple[str, frozenset]] = [("", frozenset())]
  while todo:
    folder, above = todo.pop()
    path = os.path.join(root, folder)
    if not remote:
      status = os.stat(path)
      if (status.st_dev, status.st_ino) in above:
        continue
      above |= {(status.st_dev, status.st_ino)}
      stamp[folder] = _version(status)
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
  return _Scan(stamp, sorted(names), None, skipped)


def _scan_zip(root: str) -> _Scan:
  stamp, members, skipped = {"": _version(os.stat(root))}, {}, 0
  with zipfile.ZipFile(root) as archive:
    for info in archive.infolist():
      parts = [part for part in info.filename.replace("\\", "/").split("/") if part not in ("", ".", "..")]
      if info.is_dir():
        continue
      if not parts or any(map(_hidden, parts)) or not parts[-1].lower().endswith(ENDINGS):
        skipped += 1
        continue
      if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile(f"{info.filename} is encrypted or neither stored nor deflated")
      members["/".join(parts)] = [info.header_offset, info.compress_size, info.compress_type, info.CRC]
  names = sorted(members)
  return _Scan(stamp, names, [members[name] for name in names], skipped)


def _version(status: os.stat_result) -> list[int]:
  return [status.st_mtime_ns, status.st_size]


def _hidden(name: str) -> bool:
  return name.startswith(".") or name == "__MACOSX"


def _cache_file(root: str) -> pathlib.Path:
  return cache.folder("listings") / f"{hashlib.sha256(os.fsencode(root)).hexdigest()}.{_FORMAT}.json"


def _scan_and_cache(root: str) -> _Scan:
  began = time.time()
  scan_root = _scan_folder if os.path.isdir(root) else _scan_zip
  scan = scan_root(root)
  if max(time_ns for time_ns, _ in scan.stamp.values()) > (began - _TICK) * 1e9:  # a later change may have the same time
    time.sleep(_TICK)
    scan = scan_root(root)
  try:
    file = _cache_file(root)
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(file, json.dumps(scan._asdict()))
  except (OSError, RuntimeError) as error:  # the cache is optional; RuntimeError: the user has no home
    LOG.debug("the listing of %s is not cached: %s", root, error)
  return scan


def _cached(root: str) -> _Scan | None:
  try:
    scan = _Scan(**json.loads(_cache_file(root).read_text()))
    stamp = {folder: _version(os.stat(os.path.join(root, folder) if folder else root)) for folder in scan.stamp}
    return scan if scan.stamp == stamp else None
  except (OSError, RuntimeError, ValueError, TypeError):
    return None
