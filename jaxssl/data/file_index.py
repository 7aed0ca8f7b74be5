"""The images under a folder or in a zip: listed once, then cached in the user's cache folder."""

import hashlib
import json
import logging
import os
import pathlib
import stat
import time
import weakref
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

from jaxssl.core import atomic, cache, paths
from jaxssl.core.errors import UserError
from jaxssl.data.image_io import ENDINGS

_FORMAT = 2  # of the cache files; others are ignored
_MAX_BYTES = 2**30  # of an uncompressed file: a larger one is a mistake or an attack
_TICK = 0.02  # seconds: closer changes of a folder may have the same modification time
_log = logging.getLogger("jaxssl")


class Listing:
  """Sorted relative names of images (with /), and access to their bytes.

  `members`: for each name in a zip [offset of the header, stored bytes, method, CRC]; None for a folder.
  """

  def __init__(self, root: str, names: list[str], members: list[list[int]] | None, skipped: int):
    self.root, self.names, self.members, self.skipped = root, names, members, skipped
    if members is not None:
      self._descriptor = os.open(root, os.O_RDONLY)
      weakref.finalize(self, os.close, self._descriptor)

  def where(self, k: int) -> str:
    """Returns the full name of image `k`; within a zip, behind the name of the zip."""
    return os.path.join(self.root, self.names[k])

  def read(self, k: int) -> bytes:
    """Returns the bytes of image `k`, from any thread. Raises OSError, or ValueError for a damaged or special file."""
    if self.root.startswith(paths.BUCKET):
      return paths.read(self.where(k))
    if self.members is None:
      with open(self.where(k), "rb", opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
          raise ValueError("not a file but a folder, a pipe or a device")
        _check_size(status.st_size)
        return file.read()
    offset, size, method, crc = self.members[k]
    if offset < 0 or offset + size > os.fstat(self._descriptor).st_size:
      raise ValueError("its position in the directory of the zip is outside of the zip")
    _check_size(size)
    # Positioned reads need neither a lock nor a ZipFile per thread, which takes a gigabyte for a million members.
    header = os.pread(self._descriptor, 30, offset)
    if header[:4] != b"PK\3\4":
      raise ValueError("no zip member at its position in the directory of the zip")
    name, extra = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    data = os.pread(self._descriptor, size, offset + 30 + name + extra)
    data = _inflate(data) if method == zipfile.ZIP_DEFLATED else data
    if zlib.crc32(data) != crc:
      raise ValueError("the checksum in the zip does not match")
    return data


def _without_waiting(path: str, flags: int) -> int:
  """Opens a file; does not wait for the writer of a pipe."""
  return os.open(path, flags | os.O_NONBLOCK)


def _check_size(size: int) -> None:
  if size > _MAX_BYTES:
    raise ValueError(f"larger than {_MAX_BYTES} bytes, the limit for an image")


def _inflate(data: bytes) -> bytes:
  """Decompresses up to the size limit: a few bytes may expand to terabytes."""
  unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
  try:
    unpacked = unpacker.decompress(data, _MAX_BYTES + 1)
  except zlib.error as error:
    raise ValueError(str(error)) from error
  _check_size(len(unpacked))
  return unpacked


def list_images(path: str, field: str) -> Listing:
  """Lists the images under the folder or in the zip `path`; uses the cache if nothing has changed.

  Raises UserError, which names `field`, if `path` is neither, is unreadable, or has no images.
  """
  root = paths.absolute(path)
  remote = root.startswith(paths.BUCKET)
  try:
    if not (paths.path_of(root) if remote else pathlib.Path(root)).exists():
      raise UserError(f"{field}={path}: does not exist")
    listing = _in_bucket(root) if remote else _cached(root) or _fresh(root)
  except UserError:
    raise
  except OSError as error:
    raise UserError(f"{field}={path}: cannot be listed: {error}") from error
  except Exception as error:  # zipfile raises almost any type for a damaged file
    raise UserError(f"{field}={path}: neither a folder nor a readable zip: {error}") from error
  if not listing.names:
    raise UserError(f"{field}={path}: has no images; expected names ending in {' '.join(ENDINGS)}")
  if listing.skipped:
    _log.info("%s: skipped %d hidden files and folders, and files that are not images", path, listing.skipped)
  return listing


def _in_bucket(root: str) -> Listing:
  """Lists a folder in a bucket, uncached: its folders have no modification times.

  Makes no request per image, which would take hours for a million.
  """
  top, names, skipped, progress = paths.path_of(root), [], 0, _progress(root)
  if not top.is_dir():
    raise ValueError("buckets are supported for folders only")
  todo = [top]
  while todo:
    for entry in todo.pop().iterdir():
      if _hidden(entry.name):
        skipped += 1
      elif entry.name.lower().endswith(ENDINGS):
        names.append(os.fspath(entry)[len(root) + 1 :])
        progress(len(names))
      elif entry.is_dir():
        todo.append(entry)
      else:
        skipped += 1
  return Listing(root, sorted(names), None, skipped)


def _fresh(root: str) -> Listing:
  """Reads the folder or the directory of the zip, and fills the cache."""
  began = time.time()
  scan = _scan_folder if os.path.isdir(root) else _scan_zip
  stamp, names, skipped, members = scan(root)
  if max(time_ns for time_ns, _ in stamp.values()) > (began - _TICK) * 1e9:  # a later change may have the same time
    time.sleep(_TICK)
    stamp, names, skipped, members = scan(root)
  order = sorted(range(len(names)), key=names.__getitem__)
  names, members = [names[k] for k in order], members and [members[k] for k in order]
  _save(root, {"format": _FORMAT, "root": root, "stamp": stamp, "names": names, "members": members, "skipped": skipped})
  return Listing(root, names, members, skipped)


def _scan_folder(root: str) -> tuple[dict[str, list[int]], list[str], int, None]:
  stamp, names, skipped = {}, [], 0
  progress = _progress(root)
  todo: list[tuple[str, frozenset]] = [("", frozenset())]
  while todo:
    folder, above = todo.pop()
    status = os.stat(os.path.join(root, folder))
    if (status.st_dev, status.st_ino) in above:  # a link to a parent folder
      continue
    stamp[folder] = _version(status)
    inside = above | {(status.st_dev, status.st_ino)}
    with os.scandir(os.path.join(root, folder)) as entries:
      for entry in entries:
        if _hidden(entry.name):
          skipped += 1
        elif entry.is_dir():
          todo.append((folder + entry.name + "/", inside))
        elif entry.name.lower().endswith(ENDINGS):
          names.append(folder + entry.name)
          progress(len(names))
        else:
          skipped += 1
  return stamp, names, skipped, None


def _scan_zip(root: str) -> tuple[dict[str, list[int]], list[str], int, list[list[int]]]:
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
  return stamp, list(members), skipped, list(members.values())


def _version(status: os.stat_result) -> list[int]:
  """Returns what identifies a version of a folder or zip: modification time in nanoseconds, and the size of a zip."""
  return [status.st_mtime_ns, 0 if stat.S_ISDIR(status.st_mode) else status.st_size]


def _hidden(name: str) -> bool:
  return name.startswith(".") or name == "__MACOSX"


def _progress(root: str, every: float = 5.0) -> Callable[[int], None]:
  """Returns a function that logs a count at most every `every` seconds."""
  last = time.monotonic()

  def report(count: int) -> None:
    nonlocal last
    if count % 1000 == 0 and time.monotonic() - last > every:
      last = time.monotonic()
      _log.info("listing %s: %d images so far", root, count)

  return report


def _cache_file(root: str) -> pathlib.Path:
  return cache.folder("listings") / f"{hashlib.sha256(os.fsencode(root)).hexdigest()}.json"


def _save(root: str, content: dict[str, Any]) -> None:
  """Writes the cache atomically; failures are ignored, since it is optional."""
  try:
    file = _cache_file(root)
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(file, json.dumps(content))
  except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home
    _log.debug("the listing of %s is not cached: %s", root, error)


def _cached(root: str) -> Listing | None:
  """Returns the cached listing, or None if there is none, or it is damaged or outdated."""
  try:
    content = json.loads(_cache_file(root).read_text())
    stamp = {folder: _version(os.stat(os.path.join(root, folder) if folder else root)) for folder in content["stamp"]}
    if content["format"] != _FORMAT or content["root"] != root or content["stamp"] != stamp:
      return None
    return Listing(root, content["names"], content["members"], content["skipped"])
  except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError):
    return None
