"""Labels of a program's images are numbers or names, and are found only where that reads no image."""

import logging
import re

import numpy as np
import pandas
import pytest

from jaxssl.config.schema import DataConfig
from jaxssl.core import UserError
from jaxssl.data.datasets import open_datasets
from jaxssl.data.image_io import Decoder
from jaxssl.data.inputs import as_source
from tests.data.fixtures import flat
from tests.data.stand_ins import ClassLabel, HuggingFace, Tensor, TorchDataset

IMAGES = [np.full((4, 4, 3), k, np.uint8) for k in range(3)]
PAIRS = list(zip(IMAGES, (1, 0, 1), strict=True))


def opened(items, known=()):
  return as_source(items, "train array", Decoder(), known)


def labels(items, known=()):
  source = opened(items, known)
  assert source.labels is None or source.labels.dtype == np.int32
  return None if source.labels is None else source.labels.tolist(), source.classes


@pytest.mark.parametrize("images", [IMAGES, np.stack(IMAGES)], ids=["items", "array"])
@pytest.mark.parametrize(
  "given, expected",
  [
    ([1, 0, -1], ([1, 0, -1], ("0", "1"))),
    ((1, None, 1), ([1, -1, 1], ("0", "1"))),
    ([1.0, np.nan, 0.0], ([1, -1, 0], ("0", "1"))),
    (Tensor([2, 0, 1]), ([2, 0, 1], ("0", "1", "2"))),
    ([Tensor(1), Tensor(0), Tensor(1)], ([1, 0, 1], ("0", "1"))),
    (np.array([True, False, True]), ([1, 0, 1], ("0", "1"))),
    (["dog", "cat", "dog"], ([1, 0, 1], ("cat", "dog"))),
    (["dog", None, ""], ([0, -1, -1], ("dog",))),
    (["dog", float("nan"), "cat"], ([1, -1, 0], ("cat", "dog"))),
    ([np.int64(1), np.uint8(0), np.int32(-1)], ([1, 0, -1], ("0", "1"))),
    ([np.str_("b"), "a", "b"], ([1, 0, 1], ("a", "b"))),
    (pandas.Series([1, None, 0], dtype="Int64", index=[5, 3, 4]), ([1, -1, 0], ("0", "1"))),
    (pandas.Categorical(["b", "a", "b"]), ([1, 0, 1], ("a", "b"))),
    ([-1, -1, -1], (None, ())),
    ([None, None, None], (None, ())),
  ],
)
def test_labels_are_numbers_or_names(images, given, expected):
  assert labels((images, given)) == expected


@pytest.mark.parametrize(
  "given, message",
  [
    ([0, 1], r"labels have shape \[2\]; expected \[3\], one label per image"),
    (np.zeros((3, 10)), r"labels have shape \[3, 10\]; expected \[3\]"),
    ([0.0, 1.5, np.nan], "label 1 is 1.5; expected one per image: class numbers from 0, -1 if unknown, or class names"),
    ([0.0, np.inf, 1.0], "labels are from 0 to inf; expected one per image"),
    (np.zeros(3, "M8[s]"), "labels are datetime64.s.; expected one per image"),
    ([0, "cat", 1], "label 1 is 'cat'; expected one per image"),
    ([0, -2, 1], "labels are from -2 to 1; expected one per image"),
    ([0, 10**9, 1], "labels are from 0 to 1000000000; expected one per image: class numbers"),
    ([0, [1], 2], "labels are a list; expected one per image"),
    ([0, "cat", None], "label 1 is 'cat'; expected one per image"),
    ([0, None, 1.5], "label 2 is 1.5; expected one per image"),
    ("cat", "labels are a str; expected one per image"),
    ({0: 1, 1: 0, 2: 1}, "labels are a dict; expected one per image"),
    ({"a", "b", "c"}, "labels are a set; expected one per image"),
    (5, "labels are a int; expected one per image"),
  ],
)
def test_labels_that_are_neither_stop(given, message):
  with pytest.raises(UserError, match=f"train array: {message}"):
    opened((IMAGES, given))


def test_test_labels_are_matched_by_name():
  assert labels((IMAGES, ["dog", "dog", None]), ("cat", "dog")) == ([1, 1, -1], ("cat", "dog"))
  shuffled = TorchDataset(PAIRS, targets=[1, 0, 1], classes=["dog", "cat"])
  assert labels(shuffled, ("cat", "dog")) == ([0, 1, 0], ("cat", "dog"))
  assert labels((IMAGES, [1, 0, 1]), ("0", "1", "2")) == ([1, 0, 1], ("0", "1", "2"))
  assert labels(shuffled, ("0", "1")) == ([1, 0, 1], ("dog", "cat"))  # both are numbers
  for items in ((IMAGES, ["cat", "eel", "dog"]), TorchDataset(PAIRS, targets=[1, 0, 1], classes=["cat", "eel"])):
    with pytest.raises(UserError, match="train array: the training images lack the classes eel; rename or remove them"):
      opened(items, ("cat", "dog"))
  with pytest.raises(UserError, match="lack the classes cat, dog"):
    opened((IMAGES, ["cat", "dog", "cat"]), ("0", "1"))
  with pytest.raises(UserError, match="labels are numbers, but those of the training images are names, e.g. cat; expected"):
    opened((IMAGES, [0, 1, 1]), ("cat", "dog"))


def test_a_run_matches_its_test_labels():
  arrays = {"train": (IMAGES, ["cat", "dog", "eel"]), "test": (IMAGES, ["eel", "eel", "dog"])}
  datasets = open_datasets(DataConfig(source="array"), 0, arrays)
  assert datasets.test and datasets.test.source.labels.tolist() == [2, 2, 1]
  assert datasets.train.source.classes == ("cat", "dog", "eel")


def test_labels_of_torch_datasets():
  dataset = TorchDataset(PAIRS, targets=Tensor([1, 0, 1]), classes=["cat", "dog"])
  assert labels(dataset) == ([1, 0, 1], ("cat", "dog")) and dataset.reads == 1
  assert labels(TorchDataset(PAIRS, labels=np.array([1, 0, 1]))) == ([1, 0, 1], ("0", "1"))
  assert labels(TorchDataset(PAIRS, targets=[1, 0, 1], classes=["cat"])) == ([1, 0, 1], ("0", "1"))  # too few names
  subset = TorchDataset([PAIRS[2], PAIRS[1]], dataset=dataset, indices=[2, 1])  # torch.utils.data.Subset
  assert labels(subset) == ([1, 0], ("cat", "dog"))
  assert labels(TorchDataset(IMAGES, labels=[-1, -1, -1])) == (None, ())  # the unlabeled part of STL-10
  assert labels(TorchDataset(PAIRS, tensors=(Tensor(np.stack(IMAGES)), Tensor([1, 0, 1])))) == ([1, 0, 1], ("0", "1"))
  assert labels((dataset, [0, 0, 0])) == ([0, 0, 0], ("0",))


def test_labels_of_hugging_face_datasets():
  columns = {"image": [flat(k) for k in range(3)], "label": [1, 0, 1]}
  features = {"image": None, "label": ClassLabel(["cat", "dog"])}
  dataset = HuggingFace(columns, features)
  assert labels(dataset) == ([1, 0, 1], ("cat", "dog")) and dataset.rows == 1
  transformed = HuggingFace(columns, features, lambda row: {"image": row["image"]})
  assert labels(transformed) == ([1, 0, 1], ("cat", "dog"))
  assert labels(HuggingFace({"img": columns["image"], "labels": ["a", "b", "a"]}, {"img": None, "labels": None}))[1] == (
    "a",
    "b",
  )
  assert labels(HuggingFace({"image": columns["image"]}, {"image": None})) == (None, ())


def test_other_columns_with_class_names_are_noted(caplog):
  columns = {"image": [flat(k) for k in range(3)], "fine": [1, 0, 1]}
  with caplog.at_level(logging.INFO, "jaxssl"):
    assert labels(HuggingFace(columns, {"image": None, "fine": ClassLabel(["cat", "dog"])})) == (None, ())
  assert "the labels in fine are not used: no column is called label; for evaluations with labels pass" in caplog.text


def test_labels_of_lists_are_read():
  assert labels(PAIRS) == ([1, 0, 1], ("0", "1"))
  assert labels([(image, "cat") for image in IMAGES]) == ([0, 0, 0], ("cat",))
  assert labels([{"image": image, "label": 2} for image in IMAGES]) == ([2, 2, 2], ("0", "1", "2"))
  assert labels(IMAGES) == (None, ())


def test_labels_are_compared_with_the_first_item_that_can_be_read():
  class Unreliable(TorchDataset):
    def __getitem__(self, index):
      return super().__getitem__(index if index else 99)

  assert labels(Unreliable(PAIRS, targets=[1, 0, 1])) == ([1, 0, 1], ("0", "1"))


class Property(TorchDataset):
  @property
  def targets(self):
    raise RuntimeError("not downloaded")


@pytest.mark.parametrize(
  "dataset, message",
  [
    (TorchDataset(PAIRS), "the labels in the items are not used, since that would read every image; .* pass .images, labels."),
    (TorchDataset(PAIRS, targets=[0, 0, 1]), "label 0 is 0, but 1 in item 0; evaluated without labels"),
    (TorchDataset(PAIRS, targets=[[0, 1]] * 3), r"labels have shape \[3, 2\]; .*; evaluated without labels"),
    (TorchDataset(PAIRS, targets=[1]), r"labels have shape \[1\]; .*; evaluated without labels"),
    (TorchDataset(PAIRS, targets=lambda: 3), "labels are a function; .*; evaluated without labels"),
    (Property(PAIRS), "no labels: RuntimeError.'not downloaded'."),
  ],
)
def test_labels_that_would_read_images_or_do_not_fit_are_not_used(dataset, message, caplog):
  with caplog.at_level(logging.INFO, "jaxssl"):
    assert labels(dataset) == (None, ()) and dataset.reads == 1
  (line,) = [record.getMessage() for record in caplog.records]
  assert re.match(f"train array: {message}", line)
