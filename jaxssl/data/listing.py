"""Lists the images under a folder, in a bucket or in a zip, and says what else is there."""

import os

from jaxssl.core import UserError, heartbeat, paths
from jaxssl.data.file_index import FileIndex
from jaxssl.data.file_kinds import ENDINGS
from jaxssl.data.file_sorter import ARCHIVES, FileSorter
from jaxssl.data.zip_index import ZipIndex


def list_images(path: str, field: str) -> FileIndex:
  """Lists the images under the folder or in the zip `path`; logs what else is there.

  Raises UserError, which names `field`, if `path` is neither, is unreadable, or has no images.
  """
  if "://" in path and not path.startswith(paths.BUCKET):
    raise UserError(f"{field}={path}: is a URL; expected a folder, a zip, or {paths.BUCKET}BUCKET/FOLDER; download it first")
  root, index, sorter = paths.absolute(path), None, FileSorter()
  try:
    where = paths.path_of(root)
    with heartbeat(f"listing {root}"):
      if where.is_dir():
        (_scan_folder if paths.is_local(where) else _scan_bucket)(root, sorter)
        index = FileIndex(root, sorter.files)
      elif where.exists() and not paths.is_local(where):
        raise ValueError("buckets are supported for folders only")
      elif where.exists():
        _check_zip(root)
        index = ZipIndex(root, sorter)
  except OSError as error:
    raise UserError(f"{field}={path}: cannot be listed: {error}") from error
  except (ValueError, OverflowError) as error:
    raise UserError(f"{field}={path}: neither a folder nor a readable zip: {error}") from error
  if index is None:
    where = "" if os.path.isabs(os.path.expanduser(path)) or "://" in path else f" in {os.getcwd()}"
    raise UserError(f"{field}={path}: does not exist{where}; expected a folder or a zip of images")
  sorter.report(path, len(index))
  if not len(index):
    found = f"; found {sorter.counts()}" if sorter.skipped else ""
    raise UserError(f"{field}={path}: has no images; expected names ending in {' '.join(ENDINGS)}{found}")
  return index


def _check_zip(root: str) -> None:
  """Raises ValueError for a file that is an image or another archive, by its ending and its size."""
  ending = os.path.splitext(root.lower())[1]
  if ending in ENDINGS:
    raise ValueError("a single image; name the folder that it is in")
  if ending in ARCHIVES - {".zip"}:
    raise ValueError(f"{ending} is not read in place; unpack it")
  if os.path.isfile(root) and not os.path.getsize(root):
    raise ValueError("it is empty")


def _scan_folder(root: str, sorter: FileSorter) -> None:
  """Sorts the files under a folder. Links to folders are followed last, unless the folder was listed already."""
  listed, links, todo = set[tuple[int, int]](), [], [""]
  while todo or links:
    folder = todo.pop() if todo else links.pop(0)
    status = os.stat(os.path.join(root, folder))
    if (status.st_dev, status.st_ino) in listed:
      sorter.links.append(folder)
      continue
    listed.add((status.st_dev, status.st_ino))
    names = []
    with os.scandir(os.path.join(root, folder)) as entries:
      for entry in entries:
        if entry.is_dir():
          if not sorter.is_left_out(entry.name):
            (links if entry.is_symlink() else todo).append(f"{folder}/{entry.name}" if folder else entry.name)
        elif entry.is_symlink() and not entry.name.lower().endswith(ENDINGS) and not os.path.exists(entry.path):
          sorter.broken.append(f"{folder}/{entry.name}" if folder else entry.name)
        elif sorter.is_image(entry.name):
          names.append(os.fsencode(entry.name))
    links.sort()
    if names:
      sorter.files[folder] = names


def _scan_bucket(root: str, sorter: FileSorter) -> None:
  """Sorts the files under a folder of a bucket; the ending decides what is an image, without a request for each."""
  todo = [""]
  while todo:
    folder = todo.pop()
    names = []
    for entry in paths.path_of(os.path.join(root, folder)).iterdir():
      if entry.name.lower().endswith(ENDINGS) or not entry.is_dir():
        if sorter.is_image(entry.name):
          names.append(os.fsencode(entry.name))
      elif not sorter.is_left_out(entry.name):
        todo.append(f"{folder}/{entry.name}" if folder else entry.name)
    if names:
      sorter.files[folder] = names
