"""The images listed in a folder or a zip."""

import logging
import os
import pathlib
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from jaxssl.core import UserError
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
OTHERS = {".hidden.png": b"", "a/.DS_Store": b"", "__MACOSX/._a.png": b"", "notes.txt": b"", "a/x.svg": b"", ".git/x.png": b""}


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
