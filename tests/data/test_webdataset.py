"""Tar files of images (WebDataset): keys, labels, folders, what else they hold, and that they are scanned once."""

import io
import pathlib
import re
import tarfile

import pytest

from jaxssl.config.schema import DataConfig
from jaxssl.core import UserError
from jaxssl.data import webdataset
from jaxssl.data.datasets import open_datasets
from tests.data.fixtures import flat
from tests.pack import sources
from tests.pack.sources import FILES, write_tar


def opened(path):
  return open_datasets(DataConfig(source="webdataset", path=str(path)), 0)


def test_files_are_scanned_once(tmp_path, monkeypatch):
  data = sources.as_webdataset(tmp_path, FILES)["data"]
  assert len(opened(data).train) == 12
  monkeypatch.setattr(webdataset, "_scan", None)
  assert len(opened(data).train) == 12
  monkeypatch.undo()
  [first, _] = sorted(pathlib.Path(data).iterdir())
  write_tar(first, list(FILES.items())[:1])
  assert len(opened(data).train) == 8  # of the second, and one


def test_keys_that_two_tars_share_are_told_apart(tmp_path):
  for shard in "ab":
    write_tar(tmp_path / f"{shard}.tar", [("0.png", flat(1)), ("0.cls", b"3"), ("0.txt", b"words"), ("1.seg.png", flat(2))])
  source = opened(tmp_path).train.source
  assert [source.relative_name(k) for k in range(4)] == ["a/0.png", "a/1.seg.png", "b/0.png", "b/1.seg.png"]
  assert source.labels.tolist() == [3, -1, 3, -1]
  write_tar(tmp_path / "c.tar", [("2.png", flat(1)), ("2.jpg", flat(1))])
  with pytest.raises(UserError, match="c.tar: cannot be read: 2 has several images, .png, .jpg; expected one for each key"):
    opened(tmp_path)
  write_tar(tmp_path / "c.tar", [("2.png", flat(1)), ("2.json", b"{")])
  with pytest.raises(UserError, match="c.tar: cannot be read: 2.json is not JSON: "):
    opened(tmp_path)


@pytest.mark.parametrize(
  "names, found",
  [
    ("train/cat/0.png train/dog/1.png test/cat/2.png", r"test/ (test), train/ (train)"),
    ("train/0.png test/1.png", r"test/ (test), train/ (train)"),
    ("images/0.png masks/1.png", "images/ (train), masks/ (left out)"),
    ("cat/0.png cat/test/1.png dog/2.png dog/test/3.png", "cat/test/ seems to hold images to test on, but would be trained on"),
    ("train/cat/0.png train/dog/1.png", ""),
    ("test/cat/0.png test/dog/1.png", ""),
    ("bus/0.png car/1.png train/2.png", ""),
    ("0.png 1.png", ""),
    ("a/b/0.png a/1.png 2.png", ""),
  ],
)
def test_a_tar_with_splits_or_masks_is_an_error(names, found, tmp_path):
  data = write_tar(tmp_path / "a.tar", [(name, flat(k)) for k, name in enumerate(names.split())])
  if not found:
    assert len(opened(data).train) == len(names.split())
    return
  message = f"{data}: its tar files hold splits or masks: {found}; expected no folders or those of classes; unpack them and use"
  with pytest.raises(UserError, match=re.escape(message)):
    opened(data)


def test_what_else_is_in_a_tar_is_reported(tmp_path, caplog):
  caplog.set_level("INFO", "jaxssl")
  names = ["__MACOSX/cat/1.png", ".old/2.png", "cat/._1.png", "cat/1.PNG", "cat/1.txt", "cat/3.HEIC", "cat/4", "./dog/5.png"]
  data = write_tar(tmp_path / "a.tar", [(name, flat(k)) for k, name in enumerate(names)])
  for _ in range(2):  # the second time from the cache
    caplog.clear()
    source = opened(data).train.source.source
    assert [source.relative_name(k) for k in range(len(source))] == ["cat/1.png", "dog/5.png"]
    assert source.classes == ("cat", "dog") and source.encoded(1) == flat(7)
    (record,) = [record for record in caplog.records if "skipped" in record.getMessage()]
    assert record.levelname == "WARNING" and record.getMessage() == (
      f"{data}: skipped: 1 folder __MACOSX, 1 folder .old, 1 hidden, 1 .txt, 1 .heic, 1 without an ending; "
      ".heic cannot be read: convert them, e.g. to PNG"
    )


def test_hard_links_in_a_tar_are_read_and_others_reported(tmp_path, caplog):
  links = {"c/2.png": "b/1.png", "c/2.cls": "b/1.cls", "c/3.png": "blob", "c/4.png": "absent.png", "c/5.png": ""}
  with tarfile.open(tmp_path / "a.tar", "w") as archive:
    for name, data in (("blob", flat(3)), ("b/1.png", flat(1)), ("b/1.cls", b"7")):
      info = tarfile.TarInfo(name)
      info.size = len(data)
      archive.addfile(info, io.BytesIO(data))
    for name, target in links.items():
      info = tarfile.TarInfo(name)
      info.type, info.linkname = (tarfile.LNKTYPE, target) if target else (tarfile.SYMTYPE, "../b/1.png")
      archive.addfile(info)
  source = opened(tmp_path).train.source.source
  assert [source.relative_name(k) for k in range(len(source))] == ["b/1.png", "c/2.png", "c/3.png"]
  assert [source.encoded(k) for k in range(3)] == [flat(1), flat(1), flat(3)] and source.labels.tolist() == [7, 7, -1]
  assert f"{tmp_path}: skipped 2 links, e.g. c/4.png; write files in their place, with tar --dereference" in caplog.text


def test_names_of_classes_may_look_like_numbers(tmp_path):
  def write(split, labels):
    members = [((f"{k}.png", flat(k)), (f"{k}.cls", label.encode())) for k, label in enumerate(labels)]
    write_tar(tmp_path / f"{split}.tar", [member for pair in members for member in pair])

  write("train", ["2020", "dog", "cat", "-1"])
  write("test", ["2020", "2020"])
  sets = opened(tmp_path)
  assert sets.train.source.classes == ("2020", "cat", "dog") and sets.train.source.labels.tolist() == [0, 2, 1, -1]
  assert sets.test.source.labels.tolist() == [0, 0]
  for labels in (["2021"], ["eel"]):
    write("test", labels)
    with pytest.raises(UserError, match=f"the training images lack the classes {labels[0]}; rename or remove them"):
      opened(tmp_path)
