"""Which folders are trained on, tested on, and classes."""

import pathlib

import pytest

from jaxssl.data import folder_names, layout, layout_table
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
    ("TrainImages", "train", ()),
    ("trainset", "train", ()),
    ("ILSVRC2012_img_val", "val", ("ilsvrc",)),
    ("VOCtrainval_06-Nov", "train", ("voc", "nov")),
    ("train_val2018", "train", ()),
    ("train_unlabeled", "train", ("unlabeled",)),
    ("held-out", "test", ()),
    ("val_256", "val", ()),
    ("test-images", "test", ()),
    ("train_test", "", ("train", "test")),
    ("constraint", "", ("constraint",)),
    ("Prüfung", "", ("prüfung",)),
  ],
)
def test_splits_are_recognized_by_a_word_of_the_name(name, kind, rest):
  assert folder_names.part_of(name) == (kind, rest)


def test_the_table_shows_folders_images_and_roles():
  folders = ["extra/a", "test", "train/cat", "train/dog", "val/cat", "val/dog"]
  lines = list(layout_table.table(layout.layout_of(folders).folders, [1, 20, 300, 4000, 50, 6]))
  assert [line.split() for line in lines] == [
    ["extra/", "1", "images", "left", "out:", "neither", "a", "split", "nor", "a", "class"],
    ["test/", "20", "images", "left", "out:", "another", "held-out", "split"],
    ["train/", "4,300", "images", "train,", "2", "classes"],
    ["val/", "56", "images", "test,", "2", "classes"],
  ]


def test_many_class_folders_take_one_row():
  folders = [f"{k:03}" for k in range(200)]
  (line,) = layout_table.table(layout.layout_of(folders).folders, [5] * 200)
  assert line.split() == ["200", "folders", "1,000", "images", "train,", "classes"]


def test_many_other_folders_take_one_row():
  folders = [f"patient{k:03}/scan/left" for k in range(200)] + ["x/1/2"]
  (line,) = layout_table.table(layout.layout_of(folders).folders, [5] * 201)
  assert line.split() == ["201", "folders", "1,005", "images", "train,", "no", "classes"]


def test_long_names_are_cut_in_the_middle():
  lines = list(layout_table.table(layout.layout_of(["a" * 100 + "1", "b"]).folders, [5, 6]))
  assert [line[:40].rstrip() for line in lines] == [f"{'a' * 17} ... {'a' * 16}1/", "b/"]
  assert lines[0][40:] == "          5 images  train, a class" and len(lines[1]) == len(lines[0])


def test_names_that_would_break_a_line_are_escaped():
  lines = list(layout_table.table(layout.layout_of(["a\nb", "c"]).folders, [5, 6]))
  assert [line.split()[0] for line in lines] == ["a\\nb/", "c/"] and len(lines[0]) == len(lines[1])


def test_other_folders_beside_the_splits_are_counted():
  problem = layout.layout_of(["train/a", *(f"x{k}" for k in range(7))]).problem
  assert problem.startswith("x0/, x1/, x2/, x3/, x4/ and 2 more beside train/")
