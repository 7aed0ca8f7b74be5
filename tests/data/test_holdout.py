"""A test set that is drawn from a labeled set without one."""

import numpy as np
import pytest

from jaxssl.config.schema import DataConfig, ImbalanceConfig
from jaxssl.core import UserError
from jaxssl.data import holdout
from jaxssl.data.arrays import ArraySource
from jaxssl.data.datasets import open_datasets, open_splits
from tests.data.fixtures import flat, folder

SIZES = {"a": 20, "b": 10, "c": 3, "d": 2, "e": 1}  # images of each class
HELD_OUT = {0.001: (1, 1, 1, 1, 0), 0.2: (4, 2, 1, 1, 0), 0.999: (19, 9, 2, 1, 0)}  # share -> of each class


def made(path, sizes=SIZES, extra=()):
  """Makes a folder of classes; all images are different."""
  names = [f"{c}/{k:02}.png" for c, size in sizes.items() for k in range(size)]
  return folder(path, {name: flat(k) for k, name in enumerate([*names, *extra])})


def opened(path, share=0.2, seed=0, **fields):
  """Returns the names of the images of the training set, the reference set and the test set."""
  datasets = open_datasets(DataConfig(source="folder", path=str(path), **fields), seed, held_out=share)
  return [names(dataset.source) for dataset in (datasets.train, datasets.reference, datasets.test)], datasets


def names(source):
  return [source.describe(k)[-8:] for k in range(len(source))]


def by_class(listed):
  return {c: sum(name[-8] == c for name in listed) for c in SIZES}


@pytest.mark.parametrize("share", HELD_OUT)
def test_each_class_keeps_an_image_on_both_sides_if_it_has_two(share, tmp_path):
  (train, reference, test), datasets = opened(made(tmp_path), share)
  assert tuple(by_class(test).values()) == HELD_OUT[share]
  assert not set(train) & set(test) and len(train) + len(test) == sum(SIZES.values()) and reference == train
  assert test == sorted(test) and datasets.test.source.classes == datasets.train.source.classes == tuple(SIZES)
  for dataset in (datasets.train, datasets.test):
    assert [dataset.source.classes[label] for label in dataset.source.labels] == [n[0] for n in names(dataset.source)]


def test_images_without_a_label_are_trained_on():
  images = np.zeros((40, 4, 4, 3), np.uint8)
  labels = np.arange(40) % 2 - (np.arange(40) >= 20) * 5
  drawn = holdout.draw(ArraySource(images, np.maximum(labels, -1)), 0.5, 0)
  assert len(drawn) and drawn.max() < 20


def test_the_seed_and_the_names_determine_the_draw(tmp_path):
  path = made(tmp_path / "set")
  sets, _ = opened(path)
  assert opened(path)[0] == sets == opened(made(tmp_path / "moved"))[0]
  assert opened(path, seed=1)[0][2] != sets[2] and opened(path, 0.5)[0][2] != sets[2]
  limited = opened(path, limit=20)[0]  # some images of each class
  assert limited[2] == sets[2] and len(limited[0]) == 20


def test_only_listed_images_are_drawn(tmp_path):
  listed = tmp_path / "list.txt"
  listed.write_text("".join(f"{c}/{k:02}.png\n" for c in "ab" for k in range(10)))
  (train, _, test), _ = opened(made(tmp_path / "set"), list_path=str(listed))
  assert by_class(test)["a"] and by_class(test)["b"] and sum(by_class(test).values()) == len(test)
  assert sorted(train + test) == sorted(listed.read_text().split())


def test_an_unbalanced_set_is_drawn_from_the_rest(tmp_path):
  kind = ImbalanceConfig(kind="few_large", large=1, small_images=2)
  (train, reference, test), _ = opened(made(tmp_path, {"a": 20, "b": 10, "c": 10}), imbalance=kind)
  assert not set(test) & set(train) and not set(test) & set(reference)
  for listed in (test, reference):
    assert len(set(list(by_class(listed).values())[:3])) == 1  # balanced
  assert by_class(train)["a"] > by_class(train)["b"] == by_class(train)["c"] == 2


def test_splits_are_those_of_training(tmp_path):
  path = made(tmp_path)
  (train, _, test), _ = opened(path)
  splits = open_splits(DataConfig(source="folder", path=path), 0, False, 0.2)
  assert {split: names(source) for split, source in splits.items()} == {"train": train, "test": test}


@pytest.mark.parametrize(
  "files, share, match",
  [
    (("a/1.png", "a/2.png", "b/1.png"), 1.0, "evals.holdout=1.0: out of range; expected a share of each class below 1"),
    (("a/1.png", "a/2.png", "b/1.png"), -0.1, "evals.holdout=-0.1: out of range"),
    (("a/1.png", "b/1.png"), 0.2, "evals.holdout=0.2: no class of .* has two images, one to test on; use 0"),
    (("1.png", "2.png"), 0.2, "evals.holdout=0.2: .* has no labels to test with; sort it into class folders, or use 0"),
    (("train/a/1.png", "train/b/2.png", "test/a/3.png"), 0.2, "evals.holdout=0.2: there is a test set already, 1 images of "),
  ],
)
def test_errors_name_the_field(files, share, match, tmp_path):
  with pytest.raises(UserError, match=match):
    opened(folder(tmp_path, {name: flat(k) for k, name in enumerate(files)}), share)
