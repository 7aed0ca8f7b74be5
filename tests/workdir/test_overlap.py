"""Test images that a run was trained on are found by place, by name and size, or by content."""

import numpy as np
import pytest

from jaxssl.workdir.manifest import Manifest
from jaxssl.workdir.overlap import trained_on
from tests.workdir.test_manifest import images, nameless

SIZES = {f"{c}/{k}.jpg": 100 * k + 7 * (c == "dog") for c in ("cat", "dog") for k in range(1, 21)}

COARSE = {name: (k * k + k // 3) % 10 for k, name in enumerate(SIZES)}  # few sizes


def named(sizes: dict[str, int], folder: str = "") -> Manifest:
  return images(**{folder + name: size for name, size in sizes.items()})


@pytest.mark.parametrize(
  "root, train, test_root, test, count",
  [
    ("/d", named(SIZES), "/d", named(SIZES), 40),
    ("/d", named(SIZES), "/d", named({"cat/1.jpg": 100, "cat/2.jpg": 201, "cat/3.jpg": -1, "cat/99.jpg": 100}), 2),
    ("/d", named(SIZES, "train/"), "/d/train", named({"cat/1.jpg": 100}), 1),  # a folder in that of the run
    ("/d/train", named(SIZES), "/d", named({"train/cat/1.jpg": 100, "cat/1.jpg": 100}), 1),  # around it
    ("/d", named(SIZES), "/e", named(SIZES), 40),  # copies
    ("/d", named(SIZES, "train/"), "/e.zip", named(SIZES, "images/"), 40),
    ("/d", named(SIZES), "/e", named({f"cat/{k}.jpg": 100 * k + 1 for k in range(1, 21)}), 0),
    ("/d", named(COARSE), "/e", named(COARSE), 40),
    ("/d", named(COARSE), "/e", named({name: (3 * size + 4) % 10 for name, size in COARSE.items()}), 0),  # a few agree
    ("/d", named(dict.fromkeys(SIZES, 500)), "/e", named(dict.fromkeys(SIZES, 500)), 0),  # sizes that tell nothing
    ("/d", named(dict.fromkeys(SIZES, -1)), "/e", named(dict.fromkeys(SIZES, -1)), 0),
    ("", nameless([5, 6, 7]), "", nameless([7, 8, -1]), 1),
    ("", nameless([5, -1, 7]), "", nameless([7, -1]), 1),
    ("/d", named(SIZES), "", nameless([100]), 0),
  ],
)
def test_images_that_were_trained_on_are_counted(root, train, test_root, test, count):
  rows = trained_on(train, root, test, test_root)
  assert len(rows) == count and (np.diff(rows) > 0).all()


def test_links_to_the_folder_are_resolved(tmp_path):
  (tmp_path / "images").mkdir()
  (tmp_path / "link").symlink_to(tmp_path / "images")
  equal = named(dict.fromkeys(SIZES, 500))
  assert len(trained_on(equal, str(tmp_path / "images"), equal, str(tmp_path / "link"))) == 40
