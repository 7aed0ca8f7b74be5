"""Errors of storage while images are listed and read: the same images afterwards, or an error, but never others."""

import errno
import os
import pathlib
import pickle
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from jaxssl.config.schema import DataConfig
from jaxssl.core import Unavailable, UserError
from jaxssl.data import file_index, folder_scan, zip_index
from jaxssl.data.datasets import open_datasets
from jaxssl.data.file_kinds import DecodeError, UnsupportedImage
from jaxssl.data.image_io import Decoder
from jaxssl.data.inputs import as_source
from jaxssl.data.listing import list_images
from tests.data import fixtures
from tests.faults import Clock, Faults

FILES = {f"{name}/{i:02}.png": fixtures.flat(10 * i) for name in "ab" for i in range(20)}


@pytest.fixture(autouse=True)
def clock(monkeypatch):
  return Clock(monkeypatch)


@pytest.fixture(params=["folder", "zip"])
def path(request, tmp_path) -> str:
  if request.param == "folder":
    return fixtures.folder(tmp_path / "set", FILES)
  return fixtures.zipped(tmp_path / "set.zip", FILES, zipfile.ZIP_STORED)


def opened(path: str):
  return open_datasets(DataConfig(source="folder", path=path, bit_depth=8), 0).train.source


def failing(monkeypatch, share: float, number: int = errno.ESTALE) -> Faults:
  """Makes a share of the reads of files fail."""
  error = OSError(number, os.strerror(number))
  faults = Faults(file_index._read_local, share, error)
  monkeypatch.setattr(file_index, "_read_local", faults)
  reads = Faults(os.pread, share, error)
  monkeypatch.setattr(zip_index.os, "pread", reads)
  return faults


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.ENOTCONN])
def test_transient_errors_change_no_image(path, number, monkeypatch, clock):
  source = opened(path)
  expected = [source.read(k) for k in range(40)]
  failing(monkeypatch, 0.3, number)
  with ThreadPoolExecutor(8) as pool:
    actual = list(pool.map(source.read, range(40)))
  np.testing.assert_array_equal(actual, expected)
  assert clock.waits and not source.unreadable


def test_storage_that_does_not_respond_is_no_unreadable_image(path, monkeypatch):
  source = opened(path)
  failing(monkeypatch, 1)
  with pytest.raises(Unavailable, match=r"reading .*set.*: storage does not respond within 5 min, .* Rerun the same command"):
    source.read(0)
  assert not source.unreadable


def test_only_absent_and_damaged_files_are_unreadable(tmp_path):
  folder = pathlib.Path(fixtures.folder(tmp_path / "set", FILES))
  source = opened(str(folder)).source
  (folder / "a/00.png").unlink()
  (folder / "a/01.png").write_bytes(b"damaged")
  (folder / "a/02.png").unlink()
  (folder / "a/02.png").mkdir()
  for k, message in enumerate(("No such file or directory", "not an image of a known format", "Is a directory")):
    with pytest.raises(DecodeError, match=f"a/0{k}.png: {message}"):
      source.read(k)


@pytest.mark.parametrize(
  "error, message",
  [
    (PermissionError(errno.EACCES, "Permission denied"), "Permission denied; make it readable for this user, or remove it"),
    (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
    (MemoryError(), "too little memory to read it; cut it into tiles"),
  ],
)
def test_other_errors_stop_a_run_whatever_their_number(error, message, tmp_path, monkeypatch):
  folder = fixtures.folder(tmp_path / "set", FILES)
  source, items = (
    opened(folder),
    as_source([f"{folder}/a/{k:02}.png" for k in range(20)], "array", Decoder(channels=1, bit_depth=8)),
  )
  monkeypatch.setattr(file_index, "_read_local", Faults(file_index._read_local, 1, error))
  for images, name in ((source, f"{folder}/a/03.png"), (items, rf"array image 3 \({folder}/a/03.png\)")):
    with pytest.raises(UnsupportedImage, match=f"{name}: {message}$"):
      images.read(3)
  assert not source.unreadable


def test_a_stale_handle_of_a_zip_is_opened_again(tmp_path, monkeypatch):
  path = fixtures.zipped(tmp_path / "set.zip", FILES, zipfile.ZIP_STORED)
  index = list_images(path, "data.path")
  stale, pread, inode = index._file, os.pread, os.fstat(index._file).st_ino
  status = os.stat(path)
  os.rename(path, f"{path}.old")
  pathlib.Path(path).write_bytes(pathlib.Path(f"{path}.old").read_bytes())  # the same content, but another inode
  os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

  def read(file, *args):
    if os.fstat(file).st_ino == inode:
      raise OSError(errno.ESTALE, "Stale file handle")
    return pread(file, *args)

  monkeypatch.setattr(zip_index.os, "pread", read)
  assert [index.read(k) for k in range(40)] == [FILES[index.name(k)] for k in range(40)] and index._file == stale


def test_another_zip_in_its_place_is_an_error(tmp_path, monkeypatch):
  path = fixtures.zipped(tmp_path / "set.zip", FILES, zipfile.ZIP_STORED)
  index = list_images(path, "data.path")
  pickled = pickle.dumps(index)
  os.remove(path)
  fixtures.zipped(pathlib.Path(path), {**FILES, "c.png": fixtures.flat(1)}, zipfile.ZIP_STORED)
  monkeypatch.setattr(zip_index.os, "pread", Faults(os.pread, 1))
  with pytest.raises(UnsupportedImage, match="set.zip: it has changed since it was opened; rerun the same command"):
    index.read(0)
  with pytest.raises(UnsupportedImage, match="it has changed since it was opened"):
    pickle.loads(pickled)


def test_an_index_is_pickled_without_what_is_open(path):
  source = opened(path).source
  again = pickle.loads(pickle.dumps(source))
  assert [again.encoded(k) for k in range(40)] == [source.encoded(k) for k in range(40)]
  assert [again.describe(k) for k in range(40)] == [source.describe(k) for k in range(40)]


def test_a_network_disk_that_is_not_mounted_is_not_a_folder_without_files(tmp_path):
  folder = pathlib.Path(fixtures.folder(tmp_path / "set", FILES))
  source = opened(str(folder))
  folder.rename(tmp_path / "elsewhere")
  with pytest.raises(Unavailable, match="set is gone or empty; is its disk mounted?"):
    source.read(0)
  folder.mkdir()  # the mount point
  with pytest.raises(Unavailable, match="set is gone or empty"):
    source.read(0)
  folder.rmdir()
  (tmp_path / "elsewhere").rename(folder)
  assert source.read(0).mean() == 0 and not source.unreadable


def test_items_of_a_program_are_read_again(clock):
  class Remote(list):
    fails = 3

    def __getitem__(self, index):
      if self.fails and index == 5:
        self.fails -= 1
        raise ConnectionResetError("reset by peer")
      return super().__getitem__(index)

  items = Remote(np.full((4, 4), k, np.uint8) for k in range(9))
  source = as_source(items, "array", Decoder(channels=1, bit_depth=8))
  assert source.read(5).mean() == 5 and len(clock.waits) == 3
  items.fails = 10**9
  with pytest.raises(Unavailable, match="reading array image 5: storage does not respond .*: reset by peer"):
    source.read(5)


@pytest.mark.parametrize("function", ["scandir", "stat"])
def test_a_folder_is_listed_again(function, tmp_path, monkeypatch, clock):
  path = fixtures.folder(tmp_path / "set", FILES | {f"c{k}/notes.txt": b"" for k in range(9)})
  monkeypatch.setattr(folder_scan.os, function, faults := Faults(getattr(os, function), 0.4))
  index = list_images(path, "data.path")
  assert sorted(index.name(k) for k in range(len(index))) == sorted(FILES) and faults.count
  faults.share = 1
  with pytest.raises(Unavailable, match=rf"(listing|looking for) {path}/?: storage does not respond"):
    list_images(path, "data.path")


def test_a_folder_that_may_not_be_listed_is_an_error(tmp_path, monkeypatch):
  path = fixtures.folder(tmp_path / "set", FILES)
  refused = Faults(os.scandir, 1, PermissionError(13, "Permission denied"), lambda where: where.endswith("/b"))
  monkeypatch.setattr(folder_scan.os, "scandir", refused)
  with pytest.raises(UserError, match="data.path=.*: cannot be listed: .*Permission denied"):
    list_images(path, "data.path")


def test_the_size_of_a_file_is_asked_for_again(tmp_path, monkeypatch):
  index = list_images(fixtures.folder(tmp_path / "set", FILES), "data.path")
  expected = [len(FILES[index.name(k)]) for k in range(40)]
  monkeypatch.setattr(file_index.os, "stat", faults := Faults(os.stat, 0.3))
  assert index.sizes(np.arange(40)).tolist() == expected and faults.count
