"""Named datasets, with the mock of tensorflow_datasets."""

from types import SimpleNamespace

import numpy as np
import pytest

from jaxssl.config.schema import DataConfig, ViewConfig
from jaxssl.core import UserError
from jaxssl.data import tfds as tfds_source
from jaxssl.data.datasets import open_datasets
from jaxssl.data.identity import manifest_of
from jaxssl.data.input_pipeline import resident
from jaxssl.data.sampler import epoch_plan
from tests.data.fixtures import batches


@pytest.fixture(scope="module")
def mocked():
  import tensorflow_datasets as tfds

  with tfds.testing.mock_data(num_examples=9):
    yield tfds


def opened(name, **fields):
  datasets = open_datasets(DataConfig(source="tfds", path=name, mean=(0.5,), std=(0.5,), **fields), 0)
  return datasets.train.source, datasets.test and datasets.test.source


@pytest.mark.parametrize("name,size,classes", [("cifar10", 32, 10), ("mnist", 28, 10)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_named_dataset_has_splits_classes_and_labels(mocked, name, size, classes, channels):
  train, test = opened(name, channels=channels)
  assert train.name == f"{name} train" and test.name == f"{name} test" and len(train) == len(test) == 9
  assert "labels" not in vars(train.source)  # to read them takes long
  assert len(train.classes) == classes and train.labels.shape == (9,) and train.labels.dtype == np.int32
  assert resident(train, 0).shape == (9, size, size, channels)
  assert train.encoded(2)[:4] == b"\x89PNG" and train.describe(2) == f"{name} train image 2"


def test_a_named_dataset_is_identified_by_its_version_and_split(mocked):
  train, test = opened("cifar10")
  assert manifest_of(train).kind.startswith("cifar10/3.0.2 train") and manifest_of(test).kind.startswith("cifar10/3.0.2 test")
  info = SimpleNamespace(full_name="birds/1.0.0", splits={"train": SimpleNamespace(num_bytes=50, shard_lengths=[2, 1])})
  data = Examples()
  data.dataset_info = info
  source = tfds_source.TfdsSource(data, "train", DataConfig(source="tfds", path="birds"), ())
  assert source.version() == "birds/1.0.0 train, 50 bytes in files of [2, 1] images"


def test_images_and_labels_equal_those_of_tfds(mocked):
  train, _ = opened("cifar10")
  plain = mocked.data_source("cifar10", split="train", decoders={"image": mocked.decode.SkipDecoding()})
  for k in range(9):
    assert train.encoded(k) == plain[k]["image"] and train.labels[k] == plain[k]["label"]


def test_images_of_any_size_are_cropped_on_the_host(mocked):
  train, _ = opened("imagenet2012", limit=8)
  index, partner = epoch_plan(0, 0, 8, 4)
  output = batches(train, index, partner, {"global": ViewConfig(size=16)})
  assert [views["global"].shape for _, _, views in output] == [(4, 2, 16, 16, 3)] * 2


@pytest.mark.parametrize("path", ["/images", "./cifar10", "~/images", "images.zip", "gs://bucket/images"])
def test_a_folder_is_an_error_that_names_the_source(path):
  with pytest.raises(UserError, match=f"data.path={path}: a folder or a file, but data.source=tfds .*; set data.source=folder"):
    tfds_source.open_tfds(DataConfig(source="tfds", path=path))


def test_an_unknown_dataset_suggests_the_nearest(mocked):
  with pytest.raises(UserError, match="data.path=cifar1: not a TFDS dataset; nearest: cifar10"):
    opened("cifar1")


def test_a_dataset_without_images_is_an_error(mocked):
  with pytest.raises(UserError, match="data.path=ag_news_subset: has no image feature; its features: .*title"):
    opened("ag_news_subset")


class FakeDataSource:
  """Fake `tfds.data_source`: splits by name, each a list of labels."""

  def __init__(self, real, **splits):
    self.real, self.splits = real, splits

  def __call__(self, name, split, decoders):
    if split not in self.splits:
      raise ValueError(f"Unknown split {split}")
    if isinstance(self.splits[split], Exception):
      raise self.splits[split]
    data = Examples({"image": b"", "label": label} for label in self.splits[split])
    features = {"image": None, "label": self.real.features.ClassLabel(num_classes=4)}
    data.dataset_info = type("Info", (), {"features": features, "full_name": "name/1.0.0", "splits": {}})
    return data


class Examples(list):
  dataset_info: object


@pytest.mark.parametrize(
  "splits,chosen",
  [
    ({"test": [1], "validation": [2]}, "test"),
    ({"validation": [2]}, "validation"),
    ({"test": [-1, -1], "validation": [2]}, "validation"),
    ({"test": [-1, -1]}, None),
    ({}, None),
  ],
)
def test_the_test_split_is_the_first_one_with_labels(mocked, monkeypatch, splits, chosen):
  monkeypatch.setattr(mocked, "data_source", FakeDataSource(mocked, train=[0, 3], **splits))
  train, test = tfds_source.open_tfds(DataConfig(source="tfds", path="name"))
  assert train.labels.tolist() == [0, 3] and (test and test.name) == (chosen and f"name {chosen}")


def test_a_dataset_that_cannot_be_prepared_is_an_error(mocked, monkeypatch):
  monkeypatch.setattr(mocked, "data_source", FakeDataSource(mocked, train=AssertionError("Manual\n  download required")))
  with pytest.raises(UserError, match="data.path=name: cannot be prepared: Manual download required"):
    opened("name")


def test_labels_are_read_once(mocked, monkeypatch):
  train, _ = opened("cifar10")
  labels = train.labels.tolist()
  monkeypatch.setattr(tfds_source.TfdsSource, "_read_labels", None)
  assert opened("cifar10")[0].labels.tolist() == labels
