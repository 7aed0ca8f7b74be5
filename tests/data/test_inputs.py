"""What is not a set of images stops with one line, as does an item that is no image."""

import pathlib

import numpy as np
import pandas
import pyarrow
import pytest
from PIL import Image

from jaxssl.core import UserError
from jaxssl.data.arrays import ArraySource
from jaxssl.data.image_io import Decoder
from jaxssl.data.inputs import as_source
from tests.data.fixtures import flat, quarters
from tests.data.stand_ins import Tensor, TorchDataset

RGB = quarters(6, 8)
GRAY = RGB[..., 0]
DEEP = GRAY.astype(np.uint16) * 257 + 3


def opened(items, channels=3, dtype=np.uint8):
  return as_source(items, "train array", Decoder(channels=channels, bit_depth=8 * np.dtype(dtype).itemsize))


@pytest.mark.parametrize(
  "item, message",
  [
    ([1, 2, 3], "a list of 3"),
    (None, "None"),
    (7, "an int"),
    (np.uint8(7), "an? uint8"),
    ([[RGB, 1], 2], "a list of 2, first a list of 2"),
    (([RGB, RGB], 1), "a tuple of 2, first a list of 2"),
    ((RGB, RGB), "a tuple of 2 in which the parts 0, 1 seem to be images: return one, since views are cut from it"),
    (("a.png", "b.png"), "a tuple of 2 in which the parts 0, 1 seem to be images: return one, .*"),
    ({"pixel_values": RGB, "label": 1}, "a mapping with the keys pixel_values, label"),
    ({"image": [RGB], "label": 1}, "a mapping with the keys image, label, and its image is a list of 1"),
    ((), "a tuple of 0"),
  ],
)
def test_what_is_not_an_image_stops_at_the_first_item(item, message):
  with pytest.raises(UserError, match=f"train array: item 0 is {message}; expected an image: a PIL image, an array"):
    opened([item])


class Loader:
  dataset = [RGB]

  def __len__(self):
    return 1


class Endless(TorchDataset):
  def __len__(self):
    raise TypeError("no len()")


@pytest.mark.parametrize(
  "images, message",
  [
    (Loader(), "a Loader loads batches; expected single images, e.g. its dataset"),
    (Endless([RGB]), "an Endless has no length or no items by index"),
    (
      (image for image in [RGB]),
      "a generator has no length or no items by index; expected an array, or an object with a length",
    ),
    (RGB[None] / 255, r"float64 pixels; scale them to integers, uint8 or uint16 \(255 \* x"),
    (RGB[None] > 9, "bool pixels; scale them to integers"),
    (RGB.reshape(2, -1), r"uint8 \[2, 72\] are not images; expected integers, \[n, h, w\] or \[n, h, w, c\]"),
    (RGB[None, None], r"uint8 \[1, 1, 6, 8, 3\] are not images"),
    (RGB[None, :0], r"uint8 \[1, 0, 8, 3\] are not images"),
    (np.array([["a.png", "cat"]]), r"<U5 \[1, 2\] are not images"),
    (RGB.transpose(2, 0, 1)[None], r"uint8 \[1, 3, 6, 8\] has its channels first; expected \[n, h, w, c\]"),
    (np.zeros((2, 6, 8, 4), np.uint8), "has 4 channels, but data.channels=3; data.channels=4 reads them"),
    ("folder", "one path, folder; expected a list of paths; data.path names a folder"),
    (pathlib.Path("folder"), "one path, folder; expected a list of paths"),
    (flat(1), "one image, the path or bytes of a file; expected several"),
    (Image.fromarray(RGB), r"one image, a PIL image; expected several, e.g. \[image\]"),
    (Tensor(RGB.transpose(2, 0, 1)), "one image, a torch tensor; expected several"),
    (RGB, r"uint8 \[6, 8, 3\] is one image; expected several, \[n, h, w, c\], e.g. image\[None\]"),
    ((RGB[None], [0], 1), r"a tuple of 3; expected \(images, labels\), or a list of images"),
    ({"train": [RGB], "test": [RGB]}, "a mapping with the keys train, test; expected images, e.g. one of its values"),
    (
      iter([RGB]),
      "a list_iterator has no length or no items by index; expected an array, or an object with a length and items",
    ),
    ({RGB.tobytes()}, "a set has no length or no items by index"),
    ((ArraySource(RGB[None]), [1]), "labels beside a source; expected the source only"),
  ],
)
def test_what_has_no_items_stops(images, message):
  with pytest.raises(UserError, match=f"train array: {message}"):
    opened(images)


def test_whole_tensors_and_arrays_of_other_libraries():
  import jax.numpy as jnp

  images = np.stack([RGB, 255 - RGB])
  for many in (images, jnp.asarray(images), Tensor(images.transpose(0, 3, 1, 2))):
    source = opened(many)
    assert len(source) == 2 and (source.read(1) == images[1]).all()
  assert (opened(Tensor(np.stack([GRAY] * 9))).read(8)[..., 2] == GRAY).all()


def table(paths, **options):
  return pandas.DataFrame({"path": paths, "label": ["cat", "dog", None]}, **options)


def test_columns_of_tables_are_read_in_their_order(tmp_path):
  paths = [str(tmp_path / f"{k}.png") for k in range(3)]
  for k, path in enumerate(paths):
    pathlib.Path(path).write_bytes(flat(k))
  frame = table(paths, index=[2, 0, 1])  # as after a shuffle
  source = as_source((frame["path"], frame["label"]), "train array", Decoder())
  assert [source.read(k)[0, 0, 0] for k in range(3)] == [0, 1, 2]
  assert source.labels.tolist() == [0, 1, -1] and source.classes == ("cat", "dog")


def test_a_whole_table_stops():
  message = r"a DataFrame with the columns path, label; expected one column of images or their paths, table\['path'\], or"
  with pytest.raises(UserError, match=message):
    opened(table(["a", "b", "c"]))
  with pytest.raises(UserError, match="a Table with the columns path; expected one column"):
    opened(pyarrow.table({"path": ["a"]}))
