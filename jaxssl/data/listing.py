"""Lists the images under a folder, in a bucket or in a zip, and logs what else is there."""

import os
import stat
from collections.abc import Callable

from jaxssl.core import UserError, heartbeat, paths, retry, storage_errors
from jaxssl.data import kept_listing
from jaxssl.data.file_index import FileIndex
from jaxssl.data.file_kinds import ENDINGS
from jaxssl.data.file_sorter import ARCHIVES, FileSorter
from jaxssl.data.folder_scan import scan_bucket, scan_folder
from jaxssl.data.zip_index import ZipIndex
from jaxssl.parallel import processes

FOLDER, FILE = "a folder", "a file"


def list_images(path: str, field: str) -> FileIndex:
  """Lists the images under the folder or in the zip `path`; logs what else is there.

  Of several processes, which must all call this, the first lists a folder for all of them. Raises UserError, which names
  `field`, if `path` is neither, is unreadable, or has no images; and Unavailable if its storage does not respond.
  """
  if "://" in path and not path.startswith(paths.BUCKET):
    raise UserError(f"{field}={path}: is a URL; expected a folder, a zip, or {paths.BUCKET}BUCKET/FOLDER; download it first")
  root = paths.absolute(path)
  kind = processes.same(lambda: _kind(root, path, field), f"{field}={path}: is not the same for all processes")
  if not kind:
    where = "" if os.path.isabs(os.path.expanduser(path)) or "://" in path else f" in {os.getcwd()}"
    raise UserError(f"{field}={path}: does not exist{where}; expected a folder or a zip of images")
  if kind == FILE:
    return _list(root, path, field, lambda sorter: _zip(root, sorter))
  if not processes.have_others():
    return _list_folder(root, path, field)
  content = processes.from_first(lambda: kept_listing.packed(_list_folder(root, path, field)), f"listing {root}")
  return kept_listing.unpacked(root, content)[0]


def _kind(root: str, path: str, field: str) -> str:
  """Returns FOLDER, FILE, or nothing if there is neither."""
  try:
    where = paths.path_of(root)
    if not paths.is_local(where):
      return FOLDER if where.is_dir() else FILE if where.exists() else ""
    return FOLDER if stat.S_ISDIR(retry.call(f"looking for {root}", os.stat, root).st_mode) else FILE
  except OSError as error:
    if storage_errors.kind_of(error) is storage_errors.Kind.ABSENT:
      return ""
    raise UserError(f"{field}={path}: cannot be listed: {error}") from error


def _list_folder(root: str, path: str, field: str) -> FileIndex:
  if root.startswith(paths.BUCKET):
    return kept_listing.listed(root, lambda: _list(root, path, field, lambda sorter: _folder(root, sorter, scan_bucket)))
  return _list(root, path, field, lambda sorter: _folder(root, sorter, scan_folder))


def _list(root: str, path: str, field: str, make: Callable[[FileSorter], FileIndex]) -> FileIndex:
  """Makes an index, and logs what else is there. Raises UserError for errors, and if there are no images."""
  sorter = FileSorter()
  try:
    with heartbeat(f"listing {root}"):
      index = make(sorter)
  except OSError as error:
    raise UserError(f"{field}={path}: cannot be listed: {error}") from error
  except (ValueError, OverflowError) as error:
    raise UserError(f"{field}={path}: neither a folder nor a readable zip: {error}") from error
  sorter.report(path, len(index))
  if not len(index):
    found = f"; found {sorter.counts()}" if sorter.skipped else ""
    raise UserError(f"{field}={path}: has no images; expected names ending in {' '.join(ENDINGS)}{found}")
  return index


def _folder(root: str, sorter: FileSorter, scan: Callable[[str, FileSorter], None]) -> FileIndex:
  scan(root, sorter)
  return FileIndex(root, sorter.files)


def _zip(root: str, sorter: FileSorter) -> FileIndex:
  """Opens a zip. Raises ValueError for a file that is an image or another archive, by its ending and its size."""
  if root.startswith(paths.BUCKET):
    raise ValueError("buckets are supported for folders only")
  ending = os.path.splitext(root.lower())[1]
  if ending in ENDINGS:
    raise ValueError("a single image; name the folder that it is in")
  if ending in ARCHIVES - {".zip"}:
    raise ValueError(f"{ending} is not read in place; unpack it")
  if os.path.isfile(root) and not os.path.getsize(root):
    raise ValueError("it is empty")
  return retry.call(f"reading {root}", ZipIndex, root, sorter)
