"""Folders of images and masks: which belong together, what a mask may be, and one-line errors."""

import re

import numpy as np
import pytest
from PIL import Image

from jaxssl.config.eval_schema import DenseConfig
from jaxssl.config.schema import DataConfig
from jaxssl.core import UserError
from jaxssl.data.segmentation import open_segmented
from tests.data.fixtures import coded, folder, npy

IMAGE = np.full((6, 8, 3), 90, np.uint8)
MASK = np.arange(48, dtype=np.uint8).reshape(6, 8) % 3
GRAY = coded(MASK, "PNG")


def palette() -> Image.Image:
  image = Image.fromarray(MASK).convert("P")
  image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200] + [0] * 759)
  image.putdata(MASK.ravel().tolist())
  return image


def opened(tmp_path, files, **fields):
  """Opens images/ and masks/ of a folder with these files; fields that are paths are relative to it."""
  root = folder(tmp_path / "set", files)
  given = {"images": "images", "masks": "masks"} | fields
  return open_segmented(DenseConfig(**{name: f"{root}/{path}" for name, path in given.items() if path}), DataConfig())


def both(names: str, mask: bytes = GRAY) -> dict[str, bytes]:
  files = {f"images/{name}.jpg": coded(IMAGE) for name in names.split()}
  return files | {f"masks/{name}.png": mask for name in names.split()}


@pytest.mark.parametrize(
  "data, expected",
  [
    (GRAY, MASK),
    (coded(palette(), "PNG"), MASK),
    (coded(palette(), "PNG", bits=2), MASK),
    (coded(Image.fromarray(MASK > 0), "PNG"), MASK > 0),
    (coded(MASK, "BMP"), MASK),
  ],
  ids=["gray", "palette", "palette of 2 bits", "1 bit", "bmp"],
)
def test_values_of_masks_are_read_as_they_are(tmp_path, data, expected):
  sets = opened(tmp_path, both("a b/c b/d e f", data))
  assert sets.drawn and sorted([*sets.train_rows, *sets.test_rows]) == [0, 1, 2, 3, 4] and len(sets.test_rows) == 1
  np.testing.assert_array_equal(sets.train.mask(1), expected)
  assert sets.train.read(1).shape == (6, 8, 3) and sets.train.short_name == "set/images"


def test_lists_name_the_images_as_in_voc(tmp_path):
  files = both("a b c") | {"images/without.jpg": coded(IMAGE), "train.txt": b"a\nc\n", "val.txt": b"b\n"}
  sets = opened(tmp_path, files, list_path="train.txt", test_list_path="val.txt")
  assert [sets.train.relative_name(k) for k in sets.train_rows] == ["a.jpg", "c.jpg"] and not sets.drawn
  assert [sets.test.relative_name(k) for k in sets.test_rows] == ["b.jpg"] and sets.test.mask_name(0) == "b.png"


def test_test_images_may_have_their_own_folders(tmp_path):
  given = both("training/a training/b validation/c")
  fields = {name: f"{name}/training" for name in ("images", "masks")}
  sets = opened(tmp_path, given, **fields, test_images="images/validation", test_masks="masks/validation")
  assert len(sets.train) == 2 and len(sets.test) == 1 and sets.test.mask_name(0) == "c.png"


@pytest.mark.parametrize(
  "files, fields, message",
  [
    ({}, {"images": ""}, "evals.dense.images is empty; dense needs evals.dense.images, a folder of images, and evals"),
    ({}, {"masks": ""}, "evals.dense.masks is empty; dense needs "),
    ({}, {"test_images": "x"}, "evals.dense.test_images=.*/x: evals.dense.test_masks is empty; set both, or neither"),
    ({}, {"images": "none"}, "evals.dense.images=.*/none: does not exist"),
    ({}, {"test_images": "images", "test_masks": "no"}, "evals.dense.test_masks=.*/no: does not exist"),
    ({}, {"test_images": "images", "test_masks": "masks"}, "test_images=.*: 1 images are learned from as well, e.g. .*a.jpg"),
    ({}, {}, "evals.dense.images=.*: 1 images; expected 5 or more, or test_images"),
    (
      {"images/b/c.jpg": coded(IMAGE)}, {},
      "evals.dense.masks=.*: 1 of 2 images have no mask, e.g. b/c.jpg; expected b/c.png there, or name .* by evals.dense.list",
    ),
    ({"masks/a.gif": coded(MASK, "GIF")}, {}, "masks=.*: a.gif and a.png are masks of one image; keep one"),
    ({"l.txt": b"q\n"}, {"list_path": "l.txt"}, "evals.dense.list_path=.*l.txt: 1 of 1 lines name no .* line 1, q"),
  ],
)  # fmt: skip
def test_wrong_folders_are_one_line_errors(tmp_path, files, fields, message):
  with pytest.raises(UserError, match=message) as error:
    opened(tmp_path, both("a") | files, **fields)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  "mask, problem",
  [
    (coded(IMAGE, "PNG"), "colors (RGB); expected numbers of classes in 8 bits, as a gray or palette PNG"),
    (coded(MASK.astype(np.uint16), "PNG"), "values of more than 8 bits (I;16); expected"),
    (coded(MASK), "a JPEG, which changes values; expected"),
    (npy(MASK), "not a mask; expected"),
    (b"", "not a mask; expected"),
    (coded(Image.fromarray(MASK), "PNG", bits=4), "a gray PNG of 4 bits; expected"),
    (GRAY[:60], "a.png: "),
  ],
  ids=["colors", "16 bits", "jpeg", "npy", "empty", "4 bits", "truncated"],
)
def test_unfit_masks_are_one_line_errors(tmp_path, mask, problem):
  sets = opened(tmp_path, both("a b c d e", mask))
  with pytest.raises(UserError, match=rf"evals.dense.masks=.*: a.png: .*{re.escape(problem.removeprefix('a.png: '))}") as error:
    sets.train.mask(0)
  assert "\n" not in str(error.value) and " object at " not in str(error.value)


def test_a_mask_of_another_size_is_an_error(tmp_path):
  sets = opened(tmp_path, both("a b c d e", coded(MASK.T.copy(), "PNG")))
  sets.train.mask(0)
  message = "evals.dense.masks=.*: a.png is 6 x 8 pixels, but its image 8 x 6; expected masks as large as their images"
  with pytest.raises(UserError, match=message):
    sets.train.read(0)
