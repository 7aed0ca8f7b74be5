"""Unbalanced training sets, balanced reference and test sets, and lists of images."""

import itertools

import numpy as np
import pytest

from jaxssl.config.schema import DataConfig, ImbalanceConfig
from jaxssl.core import UserError
from jaxssl.data.datasets import open_datasets
from jaxssl.data.imbalance import balanced, draw
from tests.data.fixtures import flat, folder, zipped

COUNTS = np.array([40, 25, 30, 0, 50, 27])  # of each class
NAMES = ("ant", "bee", "cow", "dog", "eel", "fox")
LABELS = np.random.default_rng(0).permutation(np.repeat([-1, *range(6)], [7, *COUNTS])).astype(np.int32)
LARGE = {"kind": "few_large", "large": 2, "small_images": 10}
TAIL = {"kind": "long_tail", "ratio": 10.0}


def drawn(labels=LABELS, listed=None, **fields):
  """Returns the positions of the training set and the reference, and the classes of head and tail."""
  train, reference, groups = draw(labels, NAMES, ImbalanceConfig(**fields), listed)
  return train, reference, tuple(groups.values())


def counts(labels):
  return np.bincount(labels, minlength=len(NAMES))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("design", [LARGE, TAIL])
def test_class_sizes_are_exact(design, classes, seed):
  train, reference, (head, tail) = drawn(classes=classes, seed=seed, **design)
  sizes, used = counts(LABELS[train]), np.union1d(head, tail)
  assert len(used) == len(head) + len(tail) == (classes or 5)
  assert (sizes[used] > 0).all() and sizes.sum() == sizes[used].sum() == len(train)
  smallest = COUNTS[used].min()
  if design is LARGE:
    assert len(head) == 2 and (sizes[head] == COUNTS[head]).all() and (sizes[tail] == 10).all()
  else:
    steps = len(used) - 1
    assert sorted(sizes[used], reverse=True) == [round(smallest * 10 ** (-k / steps)) for k in range(steps + 1)]
    assert len(head) - len(tail) in (0, 1) and sizes[head].min() > sizes[tail].max()
  assert (counts(LABELS[reference])[used] == smallest).all() and len(reference) == smallest * len(used)
  assert (np.diff(train) > 0).all() and (np.diff(reference) > 0).all()


@pytest.mark.parametrize("design", [LARGE, TAIL])
def test_a_draw_is_a_function_of_its_seed(design):
  draws = [drawn(classes=4, seed=seed, **design) for seed in range(8)]
  for seed, (train, reference, groups) in enumerate(draws):
    again = drawn(classes=4, seed=seed, **design)
    assert all((a == b).all() for a, b in zip((train, reference, *groups), (*again[:2], *again[2]), strict=True))
  for (train, *_), (other, *_) in itertools.combinations(draws, 2):
    assert set(train) != set(other)
  assert all(len({tuple(groups[k]) for _, _, groups in draws}) > 2 for k in range(2))


def test_the_longest_tail_ends_in_one_image():
  assert sorted(counts(LABELS[drawn(kind="long_tail", ratio=25)[0]])) == [0, 1, 2, 5, 11, 25]
  assert set(counts(LABELS[drawn(kind="long_tail", ratio=1)[0]])) == {0, 25}


def test_the_isd_protocol_has_the_published_class_sizes():
  labels = np.repeat(np.arange(100), 1300)
  config = ImbalanceConfig(kind="few_large", classes=38, large=8, small_images=100)
  train, reference, _ = draw(labels, tuple(map(str, range(100))), config, None)
  assert sorted(np.bincount(labels[train], minlength=100)) == [0] * 62 + [100] * 30 + [1300] * 8
  assert len(reference) == 38 * 1300


def test_a_list_limits_a_draw_or_is_the_set_itself():
  listed = np.flatnonzero(np.isin(LABELS, [0, 1, 4]))
  for design in (LARGE, TAIL):
    train, reference, _ = drawn(listed=listed, **design)
    assert set(LABELS[train]) == {0, 1, 4} and set(train) < set(listed) and set(reference) <= set(listed)
  subset = np.concatenate([np.flatnonzero(LABELS == c)[:size] for c, size in ((0, 40), (1, 20), (4, 19), (5, 10))])
  train, reference, (head, tail) = drawn(listed=subset, kind="listed")
  assert (train == subset).all() and head.tolist() == [0, 1] and tail.tolist() == [4, 5]  # around 20
  assert counts(LABELS[reference]).tolist() == [25, 25, 0, 0, 25, 25] and not set(reference) <= set(subset)


def test_unlabeled_images_of_a_list_are_no_class():
  subset = np.concatenate([np.flatnonzero(LABELS == c)[:size] for c, size in ((-1, 7), (0, 40), (1, 20), (4, 19), (5, 10))])
  train, reference, (head, tail) = drawn(listed=subset, kind="listed")
  assert (train == subset).all() and head.tolist() == [0, 1] and tail.tolist() == [4, 5]
  assert counts(LABELS[reference]).tolist() == [25, 25, 0, 0, 25, 25]
  assert set(LABELS[balanced(LABELS, np.unique(LABELS[subset]), NAMES, 0)]) == {0, 1, 4, 5}
  with pytest.raises(UserError, match="data.imbalance.kind=listed: no listed image has a label; expected labels of some"):
    drawn(listed=np.flatnonzero(LABELS == -1), kind="listed")


@pytest.mark.parametrize(
  "fields,match",
  [
    ({**LARGE, "labels": None}, "data.imbalance.kind=few_large: needs labels, and the training images have none"),
    ({**LARGE, "large": 5}, r"data.imbalance.large=5: expected 1 to 4, one less than the classes used"),
    ({**LARGE, "large": 3, "classes": 3}, r"data.imbalance.large=3: expected 1 to 2, one less than the classes used"),
    ({**LARGE, "large": 0}, r"data.imbalance.large=0: expected 1 to 4"),
    ({**LARGE, "small_images": 26}, "data.imbalance.small_images=26: expected 1 to 25, the number of images of class bee"),
    ({**LARGE, "small_images": 0}, "data.imbalance.small_images=0: expected 1 to 25"),
    ({**LARGE, "classes": 6}, "data.imbalance.classes=6: expected 2 to 5, the classes with images; or 0 for all"),
    ({**TAIL, "classes": 1}, "data.imbalance.classes=1: expected 2 to 5"),
    ({**TAIL, "ratio": 26.0}, "data.imbalance.ratio=26.0: expected 1 to 25, the number of images of class bee"),
    ({**TAIL, "ratio": 0.5}, "data.imbalance.ratio=0.5: expected 1 to 25"),
    ({"kind": "listed"}, "data.imbalance.kind=listed: needs data.list_path"),
  ],
)
def test_values_that_the_images_do_not_allow_are_errors(fields, match):
  with pytest.raises(UserError, match=match) as caught:
    drawn(**fields)
  assert "\n" not in str(caught.value)


IMAGES = np.arange(len(LABELS), dtype=np.uint8)[:, None, None].repeat(2, 1).repeat(2, 2)  # each encodes its position
TEST = np.repeat(np.arange(6), [9, 8, 7, 6, 5, 6])


def opened(test=TEST, **fields):
  arrays = {"train": (IMAGES, LABELS), "test": (IMAGES[: len(test)], test)}
  return open_datasets(DataConfig(source="array", channels=1, mean=(0.5,), std=(0.5,), **fields), 0, arrays)


def read(dataset):
  return [int(dataset.source.read(k)[0, 0, 0]) for k in range(len(dataset))]


def test_reference_and_test_sets_are_balanced():
  imbalance = ImbalanceConfig(**LARGE, classes=4)
  data, (train, reference, groups) = opened(imbalance=imbalance), draw(LABELS, NAMES, imbalance, None)
  for dataset, positions in ((data.train, train), (data.reference, reference)):
    assert read(dataset) == positions.tolist() and (dataset.source.labels == LABELS[positions]).all()
  used = np.union1d(data.class_groups["head"], data.class_groups["tail"])
  assert (data.class_groups["tail"] == groups["tail"]).all()
  assert set(data.reference.source.labels) == set(data.test.source.labels) == set(used)
  assert (counts(data.test.source.labels)[used] == counts(TEST)[used].min()).all()
  assert [TEST[k] for k in read(data.test)] == data.test.source.labels.tolist()


def test_a_limit_applies_to_the_training_set_only():
  whole, cut = opened(imbalance=ImbalanceConfig(**LARGE)), opened(imbalance=ImbalanceConfig(**LARGE), limit=20)
  assert len(cut.train) == 20 and set(read(cut.train)) < set(read(whole.train))
  assert read(cut.reference) == read(whole.reference) and read(cut.test) == read(whole.test)
  assert len(opened(imbalance=ImbalanceConfig(**LARGE), limit=len(whole.train) + 1).train) == len(whole.train)


def test_every_class_needs_a_test_image():
  with pytest.raises(UserError, match="data.imbalance: class 2 has no test image"):
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
  data = open_datasets(DataConfig(source="folder", path=where, list_path=str(path), imbalance=imbalance), 0)
  names = [data.train.source.describe(k).removeprefix(where + "/") for k in range(len(data.train))]
  return data, names


def test_a_list_names_the_training_images(where, tmp_path):
  lines = ["train/bee/1.png", "", "  ", "cow/0.png\r", "./train/bee/0.png", "bee/5.png", "train/bee/1.png"]
  data, names = listing(tmp_path, where, lines)
  assert names == ["train/bee/0.png", "train/bee/1.png", "train/bee/5.png", "train/cow/0.png"]
  assert data.train.source.labels.tolist() == [1, 1, 1, 2] and data.reference is data.train and not data.class_groups
  assert data.test.source.labels.tolist() == [1, 1, 2, 2]  # without the class that the list lacks


def test_a_list_can_define_an_unbalanced_set(where, tmp_path):
  lines = ["bee/0.png", "bee/1.png", "bee/2.png", "bee/3.png", "cow/2.png"]
  data, names = listing(tmp_path, where, lines, kind="listed")
  assert names == ["train/" + line for line in lines] and data.test.source.labels.tolist() == [1, 1, 2, 2]
  assert data.reference.source.labels.tolist() == [1] * 3 + [2] * 3
  assert {name: classes.tolist() for name, classes in data.class_groups.items()} == {"head": [1], "tail": [2]}
  data, _ = listing(tmp_path, where, lines[-2:], kind="listed")
  assert list(data.class_groups) == ["head"]  # all of one size


@pytest.mark.parametrize(
  "lines,match",
  [
    (["bee/0.png", "bee/9.png", "x"], r"list.txt: 2 of 3 lines name no image of .*set.*, e.g. line 2, bee/9.png"),
    (["test/bee/0.png"], "1 of 1 lines name no image of .*, e.g. line 1, test/bee/0.png"),
    (["", " "], "list.txt: the list is empty; expected one path per line"),
  ],
)
def test_every_line_must_name_an_image(where, tmp_path, lines, match):
  with pytest.raises(UserError, match=f"data.list_path=.*{match}"):
    listing(tmp_path, where, lines)
  with pytest.raises(UserError, match=r"data.list_path=.*gone: cannot be read: No such file"):
    open_datasets(DataConfig(source="folder", path=where, list_path=str(tmp_path / "gone")), 0)
