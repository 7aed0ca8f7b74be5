"""Which folders are trained on, tested on, and classes."""

import pathlib

import pytest

from jaxssl.data import layout
from tests.data import layouts

PAGE = pathlib.Path(__file__).parents[2] / "docs/data.md"


@pytest.mark.parametrize("case", layouts.CASES, ids=lambda case: case.files)
def test_splits_and_classes_are_found(case):
  found = layouts.found(case)[1]
  assert found._replace(error="") == case._replace(error="")
  assert found.error.startswith(case.error) and bool(found.error) == bool(case.error)


def test_the_page_shows_every_case():
  assert "\n".join(layouts.table()) in PAGE.read_text()


@pytest.mark.parametrize(
  "name, kind, rest",
  [
    ("train", "train", ()),
    ("TRAIN", "train", ()),
    ("TrainImages", "train", ("images",)),
    ("trainset", "train", ()),
    ("ILSVRC2012_img_val", "val", ("ilsvrc", "img")),
    ("val_256", "val", ()),
    ("test-images", "test", ("images",)),
    ("train_test", "", ("train", "test")),
    ("constraint", "", ("constraint",)),
    ("Prüfung", "", ("prüfung",)),
  ],
)
def test_splits_are_recognized_by_a_word_of_the_name(name, kind, rest):
  assert layout.part_of(name) == (kind, rest)


def test_the_table_shows_folders_images_and_roles():
  folders = ["extra/a", "test", "train/cat", "train/dog", "val/cat", "val/dog"]
  lines = list(layout.table(layout.layout_of(folders).folders, [1, 20, 300, 4000, 50, 6]))
  assert [line.split() for line in lines] == [
    ["extra/", "1", "images", "left", "out:", "another", "part", "of", "the", "data"],
    ["test/", "20", "images", "left", "out:", "another", "part", "of", "the", "data"],
    ["train/", "4,300", "images", "train,", "2", "classes"],
    ["val/", "56", "images", "test,", "2", "classes"],
  ]


def test_many_class_folders_take_one_row():
  folders = [f"{k:03}" for k in range(200)]
  (line,) = layout.table(layout.layout_of(folders).folders, [5] * 200)
  assert line.split() == ["200", "folders", "1,000", "images", "train,", "classes"]
