"""The images listed in a folder or a zip, and when the cached listing is used."""

import json
import logging
import os
import pathlib
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from jaxssl.core.errors import UserError
from jaxssl.data import file_index
from jaxssl.data.file_index import list_images
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
OTHERS = {".hidden.png": b"", "a/.DS_Store": b"", "__MACOSX/._a.png": b"", "notes.txt": b"", "a/x.gif": b"", ".git/x.png": b""}


@pytest.fixture(params=["folder", "stored", "deflated"])
def path(request, tmp_path):
  files = FILES | OTHERS
  if request.param == "folder":
    return folder(tmp_path / "set", files)
  return zipped(tmp_path / "set.zip", files, zipfile.ZIP_STORED if request.param == "stored" else zipfile.ZIP_DEFLATED)


def test_images_are_sorted_and_other_files_counted(path, caplog):
  caplog.set_level(logging.INFO, "jaxssl")
  listing = list_images(path, "data.path")
  assert listing.names == sorted(FILES)
  with ThreadPoolExecutor(8) as pool:
    assert list(pool.map(listing.read, [*range(len(FILES))] * 50)) == [FILES[name] for name in sorted(FILES)] * 50
  assert listing.where(0) == os.path.join(path, sorted(FILES)[0])
  assert f"skipped {len(OTHERS)} hidden" in caplog.text


def test_the_listing_of_a_folder_is_cached(tmp_path, monkeypatch, caplog):
  caplog.set_level(logging.INFO, "jaxssl")
  path = folder(tmp_path / "set", FILES | OTHERS)
  first = list_images(path, "data.path")
  monkeypatch.setattr(file_index, "_scan_folder", None)  # another scan would fail
  again = list_images(path, "data.path")
  assert again.names == first.names and caplog.text.count(f"skipped {len(OTHERS)} hidden") == 2
  assert again.read(2) == first.read(2)


def test_a_changed_folder_is_listed_again(tmp_path):
  path = folder(tmp_path / "set", FILES)
  names = sorted(FILES)
  for change in ("a/deep/er/new.png", "new.png", "new folder/new.png"):
    assert list_images(path, "data.path").names == sorted(names)
    folder(path, {change: flat(9)})
    names.append(change)
    assert list_images(path, "data.path").names == sorted(names)
  os.remove(os.path.join(path, "a/z.jpg"))
  names.remove("a/z.jpg")
  assert list_images(path, "data.path").names == sorted(names)


def test_a_change_with_the_same_modification_time_is_detected(tmp_path, monkeypatch):
  path = folder(tmp_path / "set", {"a.png": flat(1)})
  scan = file_index._scan_folder

  def scan_and_change(root):
    result = scan(root)
    if not os.path.exists(os.path.join(path, "b.png")):
      modified = os.stat(path).st_mtime_ns
      time.sleep(0.02)  # file systems count change times in ticks of some milliseconds
      folder(path, {"b.png": flat(2)})
      os.utime(path, ns=(modified, modified))
    return result

  monkeypatch.setattr(file_index, "_scan_folder", scan_and_change)
  assert list_images(path, "data.path").names == ["a.png", "b.png"]


def test_a_changed_zip_is_listed_again(tmp_path):
  path = zipped(tmp_path / "set.zip", {"a.png": flat(1)})
  assert list_images(path, "data.path").names == ["a.png"]
  zipped(path, {"b.png": flat(1)})
  assert list_images(path, "data.path").names == ["b.png"]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", '{"stamp": {}}'])
def test_a_broken_cache_is_ignored(tmp_path, cache, content):
  path = folder(tmp_path / "set", FILES)
  list_images(path, "data.path")
  (file,) = (cache / "jaxssl" / "listings").iterdir()
  file.write_text(content)
  assert list_images(path, "data.path").names == sorted(FILES)
  assert json.loads(file.read_text())["names"] == sorted(FILES)


def test_an_unwritable_cache_is_ignored(tmp_path, monkeypatch):
  path = folder(tmp_path / "set", FILES)
  (tmp_path / "file").touch()
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
  assert list_images(path, "data.path").names == sorted(FILES)
  monkeypatch.delenv("XDG_CACHE_HOME")

  def no_home():
    raise RuntimeError("no home")

  monkeypatch.setattr(pathlib.Path, "home", no_home)
  assert list_images(path, "data.path").names == sorted(FILES)


def test_the_cache_is_in_the_home_folder_by_default(tmp_path, monkeypatch):
  monkeypatch.delenv("XDG_CACHE_HOME")
  monkeypatch.setattr(pathlib.Path, "home", lambda: tmp_path / "home")
  list_images(folder(tmp_path / "set", FILES), "data.path")
  assert len(list((tmp_path / "home/.cache/jaxssl/listings").iterdir())) == 1


def test_links_are_followed_but_not_in_cycles(tmp_path):
  path = folder(tmp_path / "set", {"a/x.png": flat(1)})
  os.symlink(folder(tmp_path / "other", {"y.png": flat(2)}), os.path.join(path, "b"))
  os.symlink(path, os.path.join(path, "a", "around"))
  assert list_images(path, "data.path").names == ["a/x.png", "b/y.png"]


def test_odd_names_in_a_zip_are_normalized(tmp_path):
  path = zipped(tmp_path / "set.zip", {"a\\x.png": flat(1), "../y.png": flat(2), "/b/z.png": flat(3), "./w.png": flat(4)})
  listing = list_images(path, "data.path")
  assert listing.names == ["a/x.png", "b/z.png", "w.png", "y.png"]
  assert listing.read(3) == flat(2)


def test_odd_names_in_a_folder_are_read(tmp_path):
  path = folder(tmp_path / "set", {"ü ñ.png": flat(1)})
  with open(os.path.join(os.fsencode(path), b"\xff.png"), "wb") as file:
    file.write(flat(2))
  for _ in range(2):
    listing = list_images(path, "data.path")
    assert {listing.read(k) for k in range(2)} == {flat(1), flat(2)}


def test_damage_inside_a_zip_is_detected(tmp_path):
  path = zipped(tmp_path / "set.zip", {"a.png": flat(1)}, zipfile.ZIP_DEFLATED)
  listing = list_images(path, "data.path")
  with open(path, "r+b") as file:
    file.seek(30 + len("a.png") + 20)
    file.write(b"\0\0\0\0\0\0")
  with pytest.raises(ValueError, match="damaged in the zip: "):
    listing.read(0)


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
