"""Unbalanced training images, balanced ones to measure with, and lists of images."""

import itertools

import numpy as np
import pytest

from jaxssl.config.schema import DataConfig, ImbalanceConfig
from jaxssl.core.errors import UserError
from jaxssl.data.datasets import open_sources
from jaxssl.data.imbalance import draw
from tests.data.fixtures import flat, folder, zipped

COUNTS = np.array([40, 25, 30, 0, 50, 27])  # of each class
NAMES = ("ant", "bee", "cow", "dog", "eel", "fox")
LABELS = np.random.default_rng(0).permutation(np.repeat([-1, *range(6)], [7, *COUNTS])).astype(np.int32)
LARGE = {"kind": "few_large", "large": 2, "small_images": 10}
TAIL = {"kind": "long_tail", "ratio": 10.0}


def drawn(labels=LABELS, listed=None, **fields):
  return draw(labels, NAMES, ImbalanceConfig(**fields), listed)


def counts(labels):
  return np.bincount(labels, minlength=len(NAMES))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("design", [LARGE, TAIL])
def test_sizes_are_exact(design, classes, seed):
  found = drawn(classes=classes, seed=seed, **design)
  sizes, used = counts(LABELS[found.train]), np.union1d(found.large, found.rare)
  assert len(used) == len(found.large) + len(found.rare) == (classes or 5)
  assert (sizes[used] > 0).all() and sizes.sum() == sizes[used].sum() == len(found.train)
  smallest = COUNTS[used].min()
  if design is LARGE:
    assert len(found.large) == 2
    assert (sizes[found.large] == COUNTS[found.large]).all() and (sizes[found.rare] == 10).all()
  else:
    steps = len(used) - 1
    assert sorted(sizes[used], reverse=True) == [round(smallest * 10 ** (-k / steps)) for k in range(steps + 1)]
    assert len(found.large) - len(found.rare) in (0, 1) and sizes[found.large].min() > sizes[found.rare].max()
  assert (counts(LABELS[found.bank])[used] == smallest).all() and len(found.bank) == smallest * len(used)
  for positions in (found.train, found.bank):
    assert (np.diff(positions) > 0).all()


@pytest.mark.parametrize("design", [LARGE, TAIL])
def test_a_draw_follows_from_its_seed(design):
  draws = [drawn(classes=4, seed=seed, **design) for seed in range(8)]
  for seed, one in enumerate(draws):
    again = drawn(classes=4, seed=seed, **design)
    assert all((vars(one)[name] == vars(again)[name]).all() for name in vars(one))
  for one, other in itertools.combinations(draws, 2):
    assert set(one.train) != set(other.train)
  assert len({tuple(one.large) for one in draws}) > 2 and len({tuple(one.rare) for one in draws}) > 2


def test_the_longest_tail_ends_in_one_image():
  found = drawn(kind="long_tail", ratio=25)
  assert sorted(counts(LABELS[found.train])) == [0, 1, 2, 5, 11, 25]
  same = drawn(kind="long_tail", ratio=1)
  assert set(counts(LABELS[same.train])) == {0, 25}


def test_isd_on_imagenet():
  labels = np.repeat(np.arange(100), 1300)
  config = ImbalanceConfig(kind="few_large", classes=38, large=8, small_images=100)
  found = draw(labels, tuple(map(str, range(100))), config, None)
  assert sorted(np.bincount(labels[found.train], minlength=100)) == [0] * 62 + [100] * 30 + [1300] * 8
  assert len(found.bank) == 38 * 1300


def test_a_list_is_drawn_from_or_is_the_set_itself():
  listed = np.flatnonzero(np.isin(LABELS, [0, 1, 4]))
  for design in (LARGE, TAIL):
    found = drawn(listed=listed, **design)
    assert set(LABELS[found.train]) == {0, 1, 4} and set(found.train) < set(listed) and set(found.bank) <= set(listed)
  few = np.concatenate([np.flatnonzero(LABELS == c)[:size] for c, size in ((0, 40), (1, 20), (4, 19), (5, 10))])
  found = drawn(listed=few, kind="listed")
  assert (found.train == few).all() and found.large.tolist() == [0, 1] and found.rare.tolist() == [4, 5]  # around 20
  assert counts(LABELS[found.bank]).tolist() == [25, 25, 0, 0, 25, 25] and not set(found.bank) <= set(few)


@pytest.mark.parametrize(
  "fields,match",
  [
    ({**LARGE, "labels": None}, "data.imbalance.kind=few_large goes by labels, but the training images have none"),
    ({**LARGE, "large": 5}, r"data.imbalance.large=5 must lie between 1 and 4, one less than the classes used"),
    ({**LARGE, "large": 3, "classes": 3}, r"data.imbalance.large=3 must lie between 1 and 2, one less than the classes used"),
    ({**LARGE, "large": 0}, r"data.imbalance.large=0 must lie between 1 and 4"),
    ({**LARGE, "small_images": 26}, "data.imbalance.small_images=26 must lie between 1 and 25, the images of class bee"),
    ({**LARGE, "small_images": 0}, "data.imbalance.small_images=0 must lie between 1 and 25"),
    ({**LARGE, "classes": 6}, "data.imbalance.classes=6 must lie between 2 and 5, the classes with images; 0: all"),
    ({**TAIL, "classes": 1}, "data.imbalance.classes=1 must lie between 2 and 5"),
    ({**TAIL, "ratio": 26.0}, "data.imbalance.ratio=26.0 must lie between 1 and 25, the images of class bee, so that no"),
    ({**TAIL, "ratio": 0.5}, "data.imbalance.ratio=0.5 must lie between 1 and 25"),
    ({"kind": "listed"}, "data.imbalance.kind=listed needs data.list_path"),
  ],
)
def test_what_the_images_do_not_allow(fields, match):
  with pytest.raises(UserError, match=match) as caught:
    drawn(**fields)
  assert "\n" not in str(caught.value)


IMAGES = np.arange(len(LABELS), dtype=np.uint8)[:, None, None].repeat(2, 1).repeat(2, 2)  # each is its position
TEST = np.repeat(np.arange(6), [9, 8, 7, 6, 5, 6])


def opened(test=TEST, **fields):
  arrays = {"train": (IMAGES, LABELS), "test": (IMAGES[: len(test)], test)}
  return open_sources(DataConfig(source="array", channels=1, mean=(0.5,), std=(0.5,), **fields), 0, arrays)


def read(source):
  return [int(source.read(k)[0, 0, 0]) for k in range(len(source))]


def test_measuring_stays_balanced():
  imbalance = ImbalanceConfig(**LARGE, classes=4)
  found, expected = opened(imbalance=imbalance), draw(LABELS, NAMES, imbalance, None)
  for source, positions in ((found.train, expected.train), (found.bank, expected.bank)):
    assert read(source) == positions.tolist() and (source.labels == LABELS[positions]).all()
  used = np.union1d(found.groups["head"], found.groups["tail"])
  assert (found.groups["tail"] == expected.rare).all() and set(found.bank.labels) == set(found.test.labels) == set(used)
  assert (counts(found.test.labels)[used] == counts(TEST)[used].min()).all()
  assert [TEST[k] for k in read(found.test)] == found.test.labels.tolist()


def test_a_limit_cuts_the_unbalanced_set_only():
  whole, cut = opened(imbalance=ImbalanceConfig(**LARGE)), opened(imbalance=ImbalanceConfig(**LARGE), limit=20)
  assert len(cut.train) == 20 and set(read(cut.train)) < set(read(whole.train))
  assert read(cut.bank) == read(whole.bank) and read(cut.test) == read(whole.test)
  with pytest.raises(UserError, match=f"number of training images, {len(whole.train)}"):
    opened(imbalance=ImbalanceConfig(**LARGE), limit=len(whole.train) + 1)


def test_every_class_used_is_tested():
  with pytest.raises(UserError, match="data.imbalance: class 2 has no image to test on"):
    opened(test=TEST[TEST != 2], imbalance=ImbalanceConfig(**LARGE))


FILES = [f"train/{name}/{k}.png" for name, count in (("ant", 2), ("bee", 6), ("cow", 3)) for k in range(count)]
TESTS = [f"test/{name}/{k}.png" for name in ("ant", "bee", "cow") for k in range(2)]


@pytest.fixture(params=["folder", "zip"])
def where(request, tmp_path):
  files = {name: flat(k) for k, name in enumerate(FILES + TESTS)}
  return folder(tmp_path / "set", files) if request.param == "folder" else zipped(tmp_path / "set.zip", files)


def listing(tmp_path, where, lines, kind="none"):
  path = tmp_path / "list.txt"
  path.write_text("\n".join(lines))
  imbalance = ImbalanceConfig(kind=kind)
  found = open_sources(DataConfig(source="folder", path=where, list_path=str(path), imbalance=imbalance), 0)
  names = [found.train.describe(k).removeprefix(where + "/") for k in range(len(found.train))]
  return found, names


def test_a_list_names_the_training_images(where, tmp_path):
  lines = ["train/bee/1.png", "", "  ", "cow/0.png\r", "./train/bee/0.png", "bee/5.png", "train/bee/1.png"]
  found, names = listing(tmp_path, where, lines)
  assert names == ["train/bee/0.png", "train/bee/1.png", "train/bee/5.png", "train/cow/0.png"]
  assert found.train.labels.tolist() == [1, 1, 1, 2] and found.bank is found.train and not found.groups
  assert found.test.labels.tolist() == [1, 1, 2, 2]  # no class is asked for that the list has nothing of


def test_a_list_as_an_unbalanced_set(where, tmp_path):
  lines = ["bee/0.png", "bee/1.png", "bee/2.png", "bee/3.png", "cow/2.png"]
  found, names = listing(tmp_path, where, lines, kind="listed")
  assert names == ["train/" + line for line in lines] and found.test.labels.tolist() == [1, 1, 2, 2]
  assert found.bank.labels.tolist() == [1] * 3 + [2] * 3
  assert {name: classes.tolist() for name, classes in found.groups.items()} == {"head": [1], "tail": [2]}
  found, _ = listing(tmp_path, where, lines[-2:], kind="listed")
  assert list(found.groups) == ["head"]  # of one size


@pytest.mark.parametrize(
  "lines,match",
  [
    (["bee/0.png", "bee/9.png", "x"], r"list.txt: 2 of 3 lines name no training image of .*set.*, first: bee/9.png"),
    (["test/bee/0.png"], "1 of 1 lines name no training image of .*, first: test/bee/0.png"),
    (["", " "], "list.txt names no image; write one path a line"),
  ],
)
def test_every_line_names_a_image(where, tmp_path, lines, match):
  with pytest.raises(UserError, match=f"data.list_path=.*{match}"):
    listing(tmp_path, where, lines)
  with pytest.raises(UserError, match=r"data.list_path=.*gone cannot be read: No such file"):
    open_sources(DataConfig(source="folder", path=where, list_path=str(tmp_path / "gone")), 0)
