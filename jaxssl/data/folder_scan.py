"""Finds all files under a folder, on a disk or in a bucket. Each folder is listed again if the storage does not respond."""

import os
import pathlib
from typing import NamedTuple

from jaxssl.core import paths, retry
from jaxssl.data.file_kinds import ENDINGS
from jaxssl.data.file_sorter import FileSorter


class _Part(NamedTuple):
  """What is in one folder: its images and other files, its folders, and links to folders; relative to the root."""

  sorter: FileSorter
  folders: list[str]
  links: list[str]


def scan_folder(root: str, sorter: FileSorter) -> None:
  """Sorts the files under a folder. Links to folders are followed last, unless the folder was listed already.

  Raises OSError or Unavailable.
  """
  listed, links, todo = set[tuple[int, int]](), [], [""]
  while todo or links:
    folder = todo.pop() if todo else links.pop(0)
    where = os.path.join(root, folder)
    status = retry.call(f"listing {where}", os.stat, where)
    if (status.st_dev, status.st_ino) in listed:
      sorter.links.append(folder)
      continue
    listed.add((status.st_dev, status.st_ino))
    part = retry.call(f"listing {where}", _scan_local, where, folder)
    sorter.add(part.sorter)
    todo += part.folders
    links = sorted(links + part.links)


def scan_bucket(root: str, sorter: FileSorter) -> None:
  """Sorts the files under a folder of a bucket; the ending decides what is an image, without a request for each.

  Raises OSError or Unavailable.
  """
  todo = [""]
  while todo:
    folder = todo.pop()
    part = _scan_remote(paths.path_of(os.path.join(root, folder)), folder)
    sorter.add(part.sorter)
    todo += part.folders


def _scan_local(where: str, folder: str) -> _Part:
  part, names = _Part(FileSorter(), [], []), []
  with os.scandir(where) as entries:
    for entry in entries:
      inside = f"{folder}/{entry.name}" if folder else entry.name
      if entry.is_dir():
        if not part.sorter.is_left_out(entry.name):
          (part.links if entry.is_symlink() else part.folders).append(inside)
      elif entry.is_symlink() and not entry.name.lower().endswith(ENDINGS) and not os.path.exists(entry.path):
        part.sorter.broken.append(inside)
      elif part.sorter.is_image(entry.name):
        names.append(os.fsencode(entry.name))
  if names:
    part.sorter.files[folder] = names
  return part


def _scan_remote(where: pathlib.Path, folder: str) -> _Part:
  part, names = _Part(FileSorter(), [], []), []
  for entry in where.iterdir():  # which retries, as `is_dir` does
    if entry.name.lower().endswith(ENDINGS) or not entry.is_dir():
      if part.sorter.is_image(entry.name):
        names.append(os.fsencode(entry.name))
    elif not part.sorter.is_left_out(entry.name):
      part.folders.append(f"{folder}/{entry.name}" if folder else entry.name)
  if names:
    part.sorter.files[folder] = names
  return part
