"""Splits and class folders, in folders and in zips alike."""

import logging

import numpy as np
import pytest

from jaxssl.config.schema import DataConfig
from jaxssl.core import UserError
from jaxssl.data.file_kinds import DecodeError
from jaxssl.data.open_folder import open_folder
from tests.data.fixtures import coded, flat, folder, quarters, zipped


@pytest.fixture(params=["folder", "zip"])
def make(request, tmp_path):
  """Returns a function that writes flat images to a folder or a zip and returns its path."""

  def make(*names, where="set"):
    files = {name: flat(k) for k, name in enumerate(names)}
    return folder(tmp_path / where, files) if request.param == "folder" else zipped(tmp_path / f"{where}.zip", files)

  return make


def opened(path, test_path="", channels=3):
  return open_folder(DataConfig(source="folder", path=path, test_path=test_path, channels=channels))


def names(source, path):
  return [source.describe(k)[len(path) + 1 :] for k in range(len(source))]


def test_class_folders_are_labels(make):
  path = make("dog/2.png", "dog/10.png", "cat/1.png", "bird/7.png")
  train, test = opened(path)
  assert test is None and train.name == path
  assert names(train, path) == ["bird/7.png", "cat/1.png", "dog/10.png", "dog/2.png"]
  assert train.classes == ("bird", "cat", "dog")
  assert train.labels.dtype == np.int32 and train.labels.tolist() == [0, 1, 2, 2]
  assert [train.read(k)[0, 0].tolist() for k in range(4)] == [[3] * 3, [2] * 3, [1] * 3, [0] * 3]


@pytest.mark.parametrize(
  "files,reason",
  [
    (["1.png", "2.png"], "not every image is exactly one folder deep"),
    (["a/1.png", "b/2.png", "3.png"], "not every image is exactly one folder deep (e.g. 3.png)"),
    (["a/x/1.png", "b/x/2.png"], "not every image is exactly one folder deep (e.g. a/x/1.png)"),
    (["train/a/1.png", "train/a/2.png", "test/a/3.png"], "fewer than two class folders"),
  ],
)
def test_missing_labels_are_logged_with_the_reason(make, caplog, files, reason):
  caplog.set_level(logging.INFO, "jaxssl")
  train, _ = opened(make(*files))
  assert train.labels is None and train.classes == ()
  assert "no labels" in caplog.text and reason in caplog.text


@pytest.mark.parametrize("split", ["test", "val", "validation", "Test"])
def test_test_and_validation_folders_are_the_test_split(make, split):
  path = make("train/a/1.png", "train/b/2.png", f"{split}/b/3.png", f"{split}/a/4.png", f"{split}/b/5.png")
  train, test = opened(path)
  assert names(train, path) == ["train/a/1.png", "train/b/2.png"] and train.labels.tolist() == [0, 1]
  assert names(test, path) == [f"{split}/a/4.png", f"{split}/b/3.png", f"{split}/b/5.png"]
  assert test.labels.tolist() == [0, 1, 1] and test.classes == train.classes == ("a", "b")
  assert test.read(0)[0, 0, 0] == 3


@pytest.mark.parametrize(
  "files,train_labels,test_labels,logged",
  [
    # folders that contain everything
    ("set/v1/train/a/1.png set/v1/train/b/2.png set/v1/test/a/3.png", [0, 1], [0], ""),
    ("set/train/a/1.png set/train/b/2.png", [0, 1], "no test split", ""),
    # only the first test folder is used, and none is trained on
    ("a/1.png b/2.png val/a/3.png test/b/4.png", [0, 1], [1], "val/           1 images  left out"),
    # splits below the classes, and images below them
    ("a/train/1.png b/train/2.png b/test/3.png", [0, 1], [1], ""),
    ("train/a/images/1.png train/b/images/2.png val/a/images/3.png", [0, 1], [0], ""),
    # a class called train
    ("bus/1.png car/2.png train/3.png", [0, 1, 2], "no test split", ""),
    # splits without class folders
    ("train/a/1.png train/b/2.png test/3.png", [0, 1], None, "no labels"),
    ("train/1.png test/a/2.png test/b/3.png", None, None, "no labels"),
  ],
)
def test_splits_are_found_in_any_layout(make, caplog, files, train_labels, test_labels, logged):
  caplog.set_level(logging.INFO, "jaxssl")
  train, test = opened(make(*files.split()))
  assert (train.labels if train_labels is None else train.labels.tolist()) == train_labels
  if test_labels == "no test split":
    assert test is None
  else:
    assert (test.labels if test_labels is None else test.labels.tolist()) == test_labels
  assert logged in caplog.text


def test_the_test_path_names_another_folder(make):
  path = make("cat/1.png", "dog/2.png", "test/dog/9.png")
  for names_there, expected in (
    (("dog/3.png", "cat/4.png", "dog/5.png"), [0, 1, 1]),
    (("test/dog/3.png", "test/cat/4.png"), [0, 1]),
    (("val/dog/3.png", "train/cat/4.png", "train/dog/5.png"), [1]),
  ):
    there = make(*names_there, where=f"there {len(names_there)} {names_there[0].split('/')[0]}")
    train, test = opened(path, there)
    assert len(train) == 2 and test.labels.tolist() == expected and test.name == there
  with pytest.raises(UserError, match=r"data.test_path=.*: the training split lacks the classes cow, owl; rename or remove"):
    opened(path, make("cow/1.png", "owl/2.png", "dog/3.png", where="unknown"))
  with pytest.raises(UserError, match="data.test_path=nowhere: does not exist"):
    opened(path, "nowhere")


def test_unknown_test_classes_and_a_missing_training_split_are_errors(make):
  with pytest.raises(UserError, match=r"data.path=.*: the training split lacks the classes c; rename or remove"):
    opened(make("train/a/1.png", "train/b/2.png", "test/c/3.png"))
  with pytest.raises(UserError, match=r"data.path=.*: has a test split only; use it as data.test_path"):
    opened(make("test/a/1.png", "val/a/2.png", where="tests"))


def test_files_are_decoded_with_the_configured_channels(tmp_path):
  path = folder(tmp_path / "set", {"a.jpg": coded(quarters()), "b.png": flat(7)})
  for channels in (1, 3):
    train, _ = opened(path, channels=channels)
    assert train.channels == channels and train.read(0).shape == (24, 32, channels)
    assert train.encoded(0) == coded(quarters())


def test_an_unreadable_image_is_named(tmp_path):
  path = folder(tmp_path / "set", {"a.jpg": b"nothing", "b.png": flat(7)})
  train, _ = opened(path)
  with pytest.raises(DecodeError, match=r"set/a.jpg: not an image"):
    train.read(0)
  (tmp_path / "set/b.png").unlink()
  for read in (train.read, train.encoded):
    with pytest.raises(DecodeError, match=r"set/b.png: .*No such file"):
      read(1)


@pytest.mark.parametrize(
  "files, expected", [(("1.png", "2.png", "3.png"), [1, -1, 0]), (("a/1.png", "b/2.png", "b/3.png"), [0, 1, 1])]
)
def test_labels_in_a_list_are_used_if_the_folders_give_none(make, tmp_path, files, expected):
  (tmp_path / "list.csv").write_text("path,label\n3.png,cat\n2.png,\n1.png,dog\n")
  train, _ = opened(make(*files))
  assert train.listed(str(tmp_path / "list.csv")).tolist() == [0, 1, 2]
  assert train.labels.tolist() == expected


def test_class_folders_that_differ_in_case_or_normalization_are_reported(make, caplog):
  train, _ = opened(make("u\u0308/1.png", "\u00fc/2.png", "Cat/3.png", "cat/4.png"))
  assert train.classes == ("Cat", "cat", "\u00fc") and sorted(train.labels.tolist()) == [0, 1, 2, 2]
  assert "class folders 'Cat' and 'cat' differ in case only: they are two classes" in caplog.text
  assert r"class folders 'u\u0308' and '\xfc' differ in Unicode normalization only: they are one class" in caplog.text
  with pytest.raises(UserError, match=r"the training split lacks the classes cat \(it has Cat\); rename or remove them"):
    opened(make("train/Cat/1.png", "train/dog/2.png", "test/cat/3.png", where="other"))
