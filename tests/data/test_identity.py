"""What a run stores about its images, for each kind of source."""

import numpy as np
import pytest

from jaxssl.config.schema import DataConfig
from jaxssl.data.datasets import open_datasets
from jaxssl.data.identity import manifest_of
from jaxssl.data.source import Source, Subset, name_of
from jaxssl.workdir.image_changes import compare
from tests.data.fixtures import flat, folder

IMAGES = np.random.default_rng(0).integers(0, 256, (500, 4, 4, 3), np.uint8)


def manifest(items, **fields):
  return manifest_of(open_datasets(DataConfig(source="array", **fields), 0, {"train": items}).train.source)


def test_a_manifest_follows_lists_limits_and_unicode(tmp_path):
  path = folder(tmp_path / "a", {"e\u0301.png": flat(1), "b/1.png": flat(2, (9, 9)), "c.png": flat(3)})
  listed = tmp_path / "list.txt"
  listed.write_text("b/1.png\ne\u0301.png\n")
  source = open_datasets(DataConfig(source="folder", path=path, list_path=str(listed)), 0).train.source
  images = manifest_of(source)
  assert [images.name(k) for k in range(2)] == ["\u00e9.png", "b/1.png"]
  assert images.fingerprints.tolist() == [len(flat(1)), len(flat(2, (9, 9)))]
  turned = manifest_of(Subset(source, np.array([1, 0])))
  assert turned.name(0) == "b/1.png" and turned.digest != images.digest


def changed(images, row):
  images = images.copy()
  images[row, 0, 0, 0] ^= 1
  return images


@pytest.mark.parametrize(
  "images, text",
  [
    (IMAGES.copy(), ""),
    (changed(IMAGES, 17), "1 of other content (first: image 17)"),
    (IMAGES[::-1], "500 images are the same, but in another order"),
    (IMAGES[:499], "1 removed (first: image 499)"),
    (np.rot90(IMAGES, axes=(1, 2)), "500 of other content (first: image 0)"),
  ],
)
def test_changed_arrays_are_noticed(images, text):
  changes = compare(manifest(IMAGES), manifest(images))
  assert (str(changes) if changes else "") == text


def test_lazily_read_items_are_compared_by_a_sample():
  for k, noticed in ((0, True), (1, False), (499, True)):
    assert bool(compare(manifest(list(IMAGES)), manifest(list(changed(IMAGES, k))))) == noticed
  assert "100 of other content" in str(compare(manifest(list(IMAGES)), manifest(list(np.roll(IMAGES, 1, axis=0)))))


def test_an_array_on_disk_is_not_read_as_a_whole(tmp_path):
  np.save(tmp_path / "a.npy", IMAGES)
  assert (manifest(np.load(tmp_path / "a.npy", mmap_mode="r")).fingerprints >= 0).sum() == 100


class Augmented(list):
  """Items that differ each time they are read."""

  def __getitem__(self, index):
    return np.random.default_rng().integers(0, 256, (4, 4, 3), np.uint8)


def test_items_that_differ_each_time_are_compared_by_number(caplog):
  caplog.set_level("INFO", "jaxssl")
  assert not compare(manifest(Augmented(IMAGES)), manifest(Augmented(IMAGES)))
  assert "train array: its images differ each time they are read: a run cannot notice that they have changed" in caplog.text
  assert compare(manifest(Augmented(IMAGES)), manifest(Augmented(IMAGES[:9])))


def test_an_unreadable_item_may_be_any(tmp_path):
  class Broken(list):
    def __getitem__(self, index):
      return super().__getitem__(index) if index else 1 / 0

  assert not compare(manifest(list(IMAGES)), manifest(Broken(IMAGES)))


class Offering(Source):
  """A source that is identified by a version."""

  def __init__(self, version):
    self.name, self.channels, self.dtype, self._version = "mine", 3, np.dtype(np.uint8), version

  def __len__(self):
    return 3

  def read(self, index):
    raise AssertionError("it has a version")

  def version(self):
    return self._version


def test_a_source_with_a_version_is_not_read():
  assert not compare(manifest(Offering("birds 1.0.0")), manifest(Offering("birds 1.0.0")))
  text = str(compare(manifest(Offering("birds 1.0.0")), manifest(Offering("birds 1.0.1"))))
  assert text == "3 images of birds 1.0.1, 3 channels of uint8 instead of 3 of birds 1.0.0, 3 channels of uint8"


class Foreign:
  """A source that does not inherit from `Source`, and offers nothing that identifies its images."""

  name, channels, dtype, classes, labels = "mine", 3, np.dtype(np.uint8), (), None

  def __len__(self):
    return 500

  def read(self, index):
    return IMAGES[index]

  def encoded(self, index):
    return None

  def describe(self, index):
    return f"mine/{index}"


def test_a_source_that_offers_nothing_is_compared_by_a_sample():
  assert (manifest(Foreign()).fingerprints >= 0).sum() == 100
  assert name_of(Foreign(), 3) == name_of(Subset(Foreign(), np.array([5, 3])), 1) == "3"  # type: ignore[arg-type]


def test_names_are_the_same_through_subsets(tmp_path):
  path = folder(tmp_path / "a", {"a/1.png": flat(1), "b/1.png": flat(2)})
  source = open_datasets(DataConfig(source="folder", path=path), 0).train.source
  assert name_of(source, 1) == Subset(source, np.array([1])).relative_name(0) == "b/1.png"
