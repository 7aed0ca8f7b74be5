"""The images in a folder or a zip, as an index."""

import logging
import os
import pathlib
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from jaxssl.core import UserError
from jaxssl.data.listing import list_images
from tests.data.fixtures import flat, folder, zipped

FILES = {
  "b.PNG": flat(1),
  "a/z.jpg": flat(2, kind="JPEG"),
  "a/y.Jpeg": flat(3, kind="JPEG"),
  "a-b/x.webp": flat(4, kind="WEBP"),
  "a/deep/er/w.tif": flat(5, kind="TIFF"),
  "v.tiff": flat(6, kind="TIFF"),
  "10.bmp": flat(7, kind="BMP"),
  "9.bmp": flat(8, kind="BMP"),
}
OTHERS = {
  **{name: b"" for name in (".hidden.png", "a/.DS_Store", "__MACOSX/._a.png", "notes.txt", "a/@eaDir/y.jpg", ".git/x.png")},
  **{name: b"" for name in ("a/x.heic", "a/w.HEIC", "lost+found/1.png", "README")},
}
SORTED = ["10.bmp", "9.bmp", "b.PNG", "v.tiff", "a/y.Jpeg", "a/z.jpg", "a-b/x.webp", "a/deep/er/w.tif"]


def names(index):
  return [index.name(k) for k in range(len(index))]


@pytest.fixture(params=["folder", "stored", "deflated"])
def path(request, tmp_path):
  files = FILES | OTHERS
  if request.param == "folder":
    return folder(tmp_path / "set", files)
  return zipped(tmp_path / "set.zip", files, zipfile.ZIP_STORED if request.param == "stored" else zipfile.ZIP_DEFLATED)


def test_images_are_sorted_by_folder_and_other_files_reported(path, caplog):
  caplog.set_level(logging.INFO, "jaxssl")
  index = list_images(path, "data.path")
  assert names(index) == SORTED
  with ThreadPoolExecutor(8) as pool:
    assert list(pool.map(index.read, [*range(len(FILES))] * 50)) == [FILES[name] for name in SORTED] * 50
  assert index.where(4) == os.path.join(path, "a/y.Jpeg")
  assert index.sizes(np.array([2, 0])).tolist() == [len(FILES["b.PNG"]), len(FILES["10.bmp"])]
  (record,) = [record for record in caplog.records if "skipped" in record.message]
  assert record.levelname == "WARNING" and record.message.endswith("; .heic cannot be read: convert them, e.g. to PNG")
  for count in (
    "2 .heic",
    "2 hidden",
    "1 .txt",
    "1 without an ending",
    "1 folder @eaDir",
    "1 folder lost+found",
    "1 folder .git",
  ):
    assert count in record.message


def test_other_files_are_no_warning(tmp_path, caplog):
  list_images(folder(tmp_path / "set", {"x.png": flat(1), "x.json": b"{}"}), "data.path")
  assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize(
  "others, message",
  [
    (["train.zip", "b.tar"], "skipped: 1 .zip, 1 .tar; .tar .zip may contain images: unpack them"),
    (["1.jpg_large"], "skipped: 1 .jpg_large; rename images .jpg_large to end in e.g. .jpg"),
    ([f"n{k}" for k in range(11)], "skipped: 11 without an ending; rename images without an ending to end in e.g. .jpg"),
  ],
)
def test_files_that_may_be_images_are_a_warning(others, message, tmp_path, caplog):
  path = folder(tmp_path / "set", {"x.png": flat(1), **dict.fromkeys(others, b"")})
  list_images(path, "data.path")
  assert caplog.messages == [f"{path}: {message}"]


def test_many_kinds_of_other_files_are_counted(tmp_path, caplog):
  caplog.set_level(logging.INFO, "jaxssl")
  list_images(folder(tmp_path / "set", {"x.png": flat(1), **{f"scan.{k:03}": b"" for k in range(40)}}), "data.path")
  assert caplog.messages[0].endswith(", and 28 other kinds")


def test_broken_links_are_a_warning(tmp_path, caplog):
  path = folder(tmp_path / "set", {"a/x.png": flat(1)})
  os.symlink("/nowhere", os.path.join(path, "a", "more"))
  assert names(list_images(path, "data.path")) == ["a/x.png"]
  assert caplog.messages == [f"{path}: skipped 1 links to what does not exist, e.g. a/more"]


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
  path = folder(tmp_path / "set", {"a/x.png": flat(1), "b/y.png": flat(1)})
  scandir = os.scandir

  def denied(name):  # as for a user without permission; tests may run as root
    if name.endswith("/b"):
      raise PermissionError(13, "Permission denied", name)
    return scandir(name)

  monkeypatch.setattr(os, "scandir", denied)
  with pytest.raises(UserError, match=f"data.path={path}: cannot be listed: .*Permission denied: '{path}/b'"):
    list_images(path, "data.path")


@pytest.mark.parametrize(
  "name, message",
  [
    ("x.jpg", "a single image; name the folder that it is in"),
    ("x.tar.gz", ".gz is not read in place; unpack it"),
    ("x.zip", "it is empty"),
  ],
)
def test_a_file_that_is_no_zip_is_described(name, message, tmp_path):
  path = folder(tmp_path / "set", {name: b"" if name == "x.zip" else flat(1)}) + f"/{name}"
  with pytest.raises(UserError, match=f"data.path={path}: neither a folder nor a readable zip: {message}"):
    list_images(path, "data.path")


def test_a_url_is_an_error():
  with pytest.raises(
    UserError, match="data.path=https://x.org/a.zip: is a URL; expected a folder, a zip, or gs://BUCKET/FOLDER"
  ):
    list_images("https://x.org/a.zip", "data.path")


def test_a_folder_without_images_is_described(tmp_path):
  with pytest.raises(UserError, match="has no images; expected names ending in .*; found 1 .heic"):
    list_images(folder(tmp_path / "set", {"x.heic": b""}), "data.path")


def test_folders_that_links_repeat_are_listed_once(tmp_path, caplog):
  path = folder(tmp_path / "set", {"a/x.png": flat(1)})
  os.symlink(folder(tmp_path / "other", {"y.png": flat(2)}), os.path.join(path, "b"))
  os.symlink(path, os.path.join(path, "a", "around"))
  os.symlink(os.path.join(path, "a"), os.path.join(path, "0"))
  assert names(list_images(path, "data.path")) == ["a/x.png", "b/y.png"]
  assert "skipped 2 links to folders that are listed already, e.g. 0" in caplog.text


def test_odd_names_in_a_zip_are_normalized(tmp_path):
  path = zipped(tmp_path / "set.zip", {"a\\x.png": flat(1), "../y.png": flat(2), "/b/z.png": flat(3), "./w.png": flat(4)})
  index = list_images(path, "data.path")
  assert names(index) == ["w.png", "y.png", "a/x.png", "b/z.png"]
  assert index.read(1) == flat(2)


def test_of_equal_names_in_a_zip_the_last_one_counts(tmp_path):
  path = zipped(tmp_path / "set.zip", {"a/x.png": flat(1), "b.png": flat(2), "./a/x.png": flat(3)})
  index = list_images(path, "data.path")
  assert names(index) == ["b.png", "a/x.png"] and index.read(1) == flat(3)


def test_a_zip_behind_a_program_and_with_a_comment_is_read(tmp_path):
  path = pathlib.Path(zipped(tmp_path / "set.zip", {"x.png": flat(1), "y.png": flat(2)}))
  with zipfile.ZipFile(path, "a") as archive:
    archive.comment = b"PK and more"
  path.write_bytes(b"#!/bin/sh\nexit\n" + path.read_bytes())
  index = list_images(str(path), "data.path")
  assert [index.read(k) for k in range(2)] == [flat(1), flat(2)]


def test_a_zip_with_numbers_of_64_bits_is_read(tmp_path, monkeypatch):
  monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)  # otherwise from 4 GiB on
  monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
  index = list_images(zipped(tmp_path / "set.zip", {"x.png": flat(1), "a/y.png": flat(2)}), "data.path")
  assert names(index) == ["x.png", "a/y.png"] and [index.read(k) for k in range(2)] == [flat(1), flat(2)]


def test_a_name_takes_less_than_100_bytes():
  code = """
import resource
from jaxssl.data.file_index import FileIndex
files = {f"n{k:08}": [b"n%08d_%d.JPEG" % (k, i) for i in range(10_000)] for k in range(100)}  # a million
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
index = FileIndex("root", files)
print(len(index), index.name(999_999), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / len(index))
"""
  count, name, held = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
  assert (count, name) == ("1000000", "n00000099/n00000099_9999.JPEG") and float(held) < 100  # bytes per name


def test_odd_names_in_a_folder_are_read(tmp_path):
  path = folder(tmp_path / "set", {"ü ñ.png": flat(1)})
  with open(os.path.join(os.fsencode(path), b"\xff.png"), "wb") as file:
    file.write(flat(2))
  index = list_images(path, "data.path")
  assert {index.read(k) for k in range(2)} == {flat(1), flat(2)}


def test_damage_inside_a_zip_is_detected(tmp_path):
  path = zipped(tmp_path / "set.zip", {"a.png": flat(1)}, zipfile.ZIP_DEFLATED)
  index = list_images(path, "data.path")
  with open(path, "r+b") as file:
    file.seek(30 + len("a.png") + 20)
    file.write(b"\0\0\0\0\0\0")
  with pytest.raises(ValueError, match="damaged in the zip: "):
    index.read(0)


def test_paths_that_cannot_be_listed_are_errors(tmp_path):
  with pytest.raises(UserError, match=r"data.test_path=.*/none: does not exist"):
    list_images(str(tmp_path / "none"), "data.test_path")
  with pytest.raises(UserError, match=r"data.path=.*: has no images; .*\.jpg .*\.webp"):
    list_images(folder(tmp_path / "empty", {"x.txt": b""}), "data.path")
  with pytest.raises(UserError, match="data.path=.*: has no images"):
    list_images(zipped(tmp_path / "empty.zip", {}), "data.path")
  folder(tmp_path, {"x.png": flat(1), "cut.zip": b""})
  with pytest.raises(UserError, match=r"data.path=.*x.png: neither a folder nor a readable zip"):
    list_images(str(tmp_path / "x.png"), "data.path")
  whole = pathlib.Path(zipped(tmp_path / "set.zip", {"a.png": flat(1)})).read_bytes()
  for damaged in (whole[: len(whole) // 2], whole[:-30], whole.replace(b"PK\1\2", b"PK\1\3")):
    (tmp_path / "cut.zip").write_bytes(damaged)
    with pytest.raises(UserError, match=r"data.path=.*cut.zip: neither a folder nor a readable zip"):
      list_images(str(tmp_path / "cut.zip"), "data.path")
  zipped(tmp_path / "cut.zip", {"a.png": flat(1)}, zipfile.ZIP_BZIP2)
  with pytest.raises(UserError, match="a.png is encrypted or neither stored nor deflated"):
    list_images(str(tmp_path / "cut.zip"), "data.path")
