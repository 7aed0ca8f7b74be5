"""A run lists a bucket once, and keeps the list in its workdir."""

import zlib

import numpy as np
import pytest
from etils.epath import gpath

from jaxssl.config.schema import DataConfig
from jaxssl.data import kept_listing
from jaxssl.data.file_index import FileIndex
from jaxssl.data.file_kinds import DecodeError
from jaxssl.data.folder import FolderSource
from jaxssl.data.listing import list_images
from jaxssl.workdir.workdir import Workdir
from tests import bucket
from tests.data import fixtures

FILES = {"a/1.png": fixtures.flat(1), "a/ü.png": fixtures.flat(2), "b/3.png": fixtures.flat(3), "0.png": fixtures.flat(4)}


@pytest.fixture
def store(tmp_path, monkeypatch):
  """Maps gs://store to a local folder, which it returns with a list of the folders that were listed."""
  bucket.install(tmp_path / "buckets", monkeypatch)
  fixtures.folder(tmp_path / "buckets/store/set", FILES)
  listed, real = [], bucket.Backend.__getattr__

  def counted(self, name):
    if name == "listdir":
      return lambda path: (listed.append(path), real(self, name)(path))[1]
    return real(self, name)

  monkeypatch.setattr(bucket.Backend, "__getattr__", counted)
  assert gpath._PREFIX_TO_BACKEND["gs"].folder == tmp_path / "buckets"
  return tmp_path / "buckets/store/set", listed


def names(index):
  return [index.name(k) for k in range(len(index))]


def listing(workdir, again=False, path="gs://store/set"):
  with kept_listing.kept_in(Workdir(workdir), again):
    return list_images(path, "data.path")


def test_a_bucket_is_listed_once_per_run(store, tmp_path, caplog):
  folder, listed = store
  caplog.set_level("INFO", "jaxssl")
  assert names(listing(tmp_path)) == sorted(FILES) and len(listed) == 3
  fixtures.folder(folder, {"c/new.png": fixtures.flat(9)})
  (folder / "b/3.png").unlink()
  listed.clear()
  index = listing(tmp_path)
  assert names(index) == sorted(FILES) and not listed
  assert [text for text in caplog.messages if "as listed when the run started, 20" in text and "--accept-changes" in text]
  source = FolderSource(index, np.arange(4), index.folders, DataConfig(channels=1, bit_depth=8))
  assert source.read(0).mean() == 4
  with pytest.raises(DecodeError, match=r"gs://store/set/b/3\.png: .*No such file"):
    source.read(3)
  assert names(listing(tmp_path, again=True)) == ["0.png", "a/1.png", "a/ü.png", "c/new.png"] and listed
  assert names(listing(tmp_path)) == ["0.png", "a/1.png", "a/ü.png", "c/new.png"]


def test_other_folders_runs_and_disks_are_listed(store, tmp_path):
  folder, listed = store
  listing(tmp_path)
  for path in ("gs://store/set/a", str(folder)):
    (folder / "a/1.png").unlink(missing_ok=True)
    assert not [name for name in names(listing(tmp_path, path=path)) if name.endswith("1.png")]
  assert len(names(list_images("gs://store/set", "data.path"))) == 3  # outside of a run


def changed(content: bytes, where: int, byte: int) -> bytes:
  return content[:where] + bytes([byte]) + content[where + 1 :]


@pytest.mark.parametrize(
  "damage",
  [
    lambda content: b"",
    lambda content: content[: len(content) // 2],
    lambda content: zlib.compress(zlib.decompress(content)[:-1]),
    lambda content: zlib.compress(zlib.decompress(content).replace(b"3.png", b"3/png")),
    lambda content: zlib.compress(zlib.decompress(content).replace(b'"a"', b'".."')),
    lambda content: zlib.compress(zlib.decompress(content).replace(b'"folders"', b'"fallers"')),
    lambda content: zlib.compress(zlib.decompress(content).replace(b"[1, 2, 1]", b"[1, 1, 1]")),
    lambda content: zlib.compress(zlib.decompress(content).replace(b"[1, 2, 1]", b"[-1,4, 1]")),
    lambda content: zlib.compress(changed(zlib.decompress(content), 3, 255)),
    lambda content: zlib.compress(b"\4\0\0\0\0\0\0\0[[[["),
  ],
)
def test_a_damaged_list_is_made_again(damage, store, tmp_path, caplog):
  _, listed = store
  listing(tmp_path)
  path = Workdir(tmp_path).listing("gs://store/set")
  path.write_bytes(damage(path.read_bytes()))
  listed.clear()
  assert names(listing(tmp_path)) == sorted(FILES) and listed
  assert "gs://store/set is listed again" in caplog.text
  listed.clear()
  assert names(listing(tmp_path)) == sorted(FILES) and not listed


def test_names_survive_packing():
  index = FileIndex("root", {"": [b"\xff.png"], "a b/\udcff": [b"2.png", b"10.png"]})
  again, _ = kept_listing.unpacked("root", kept_listing.packed(index))
  assert names(again) == names(index) and again.folders == index.folders and again.folder.tolist() == [0, 1, 1]
