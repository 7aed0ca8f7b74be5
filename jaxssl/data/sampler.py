"""The order in which images are read, a pure function of (seed, epoch, partners): a restart needs no saved iterator."""

import math
from collections.abc import Callable

import numpy as np

from jaxssl.core import UserError
from jaxssl.core.rng import generator

LARGE = 2**24  # images; of more, no process permutes all, but each computes the places of its own rows
ROUNDS = 8  # of the keyed permutation, each over half of a place's digits; fewer than 4 would leave patterns
_CHUNK = 2**16  # places that are computed at a time, so that all of their arrays fit in a core's cache


def steps(num_images: int, batch_size: int) -> int:
  """Returns the number of full batches in an epoch. Raises UserError if there is none."""
  if not 0 < batch_size <= num_images:
    raise UserError(f"train.batch_size={batch_size}: the training set has {num_images} images; expected 1 to {num_images}")
  return num_images // batch_size


def evenly_spaced(num_images: int, most: int) -> np.ndarray:
  """Returns at most `most` positions, ascending and evenly spaced from the first image to the last, int [m]."""
  return np.unique(np.linspace(0, max(num_images - 1, 0), most).round().astype(int))[:num_images]


def epoch_plan(
  seed: int,
  epoch: int,
  num_images: int,
  batch_size: int,
  partners_of: Callable[[np.ndarray], np.ndarray] | None = None,
  own: slice = slice(None),
) -> tuple[np.ndarray, np.ndarray]:
  """Shuffles a dataset for one epoch and drops the incomplete last batch.

  `partners_of`: maps images, int32 [steps, b], to those that supply their second views; None: the images themselves. `own`: the
  columns of a batch that this process reads. Returns index and partner, int32 [steps, b] of those columns. Raises UserError if
  not even one batch can be filled.
  """
  count = steps(num_images, batch_size)
  rng = generator(seed, "order", epoch)
  if num_images <= LARGE:
    index = rng.permutation(num_images)[: count * batch_size].reshape(count, batch_size)[:, own].astype(np.int32)
  else:
    index = _own_columns(rng, num_images, count, batch_size, np.arange(batch_size, dtype=np.uint64)[own])
  return index, index if partners_of is None else partners_of(index)


def _own_columns(rng: np.random.Generator, num_images: int, count: int, batch_size: int, columns: np.ndarray) -> np.ndarray:
  keys = rng.integers(0, 2**64, ROUNDS, np.uint64)
  index = np.empty((count, len(columns)), np.int32)
  size = max(_CHUNK // len(columns), 1)
  for first in range(0, count, size):
    batches = np.arange(first, min(first + size, count), dtype=np.uint64)
    index[first : first + size] = shuffled(batches[:, None] * np.uint64(batch_size) + columns[None], num_images, keys)
  return index


def shuffled(places: np.ndarray, num_images: int, keys: np.ndarray) -> np.ndarray:
  """Maps places, uint64 below `num_images` in any shape, to images by the permutation of the keys, uint64 [rounds].

  A generalized Feistel cipher (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002): a place is a row and a column
  of a grid, of which each round shifts one by a hash of the other. The few results beyond the last image are mapped again.
  """
  rows = math.isqrt(num_images - 1) + 1
  sides = np.uint64(rows), np.uint64(-(-num_images // rows))
  images = np.array(places)
  outside = np.ones(places.shape, bool)
  while outside.any():
    digits = list(np.divmod(images[outside], sides[1]))
    for number, key in enumerate(keys):
      shifted, side = number % 2, sides[number % 2]
      total = digits[shifted] + _hash(digits[1 - shifted], key, side)
      digits[shifted] = np.where(total < side, total, total - side)
    images[outside] = digits[0] * sides[1] + digits[1]
    outside[outside] = images[outside] >= num_images
  return images


def _hash(x: np.ndarray, key: np.uint64, side: np.uint64) -> np.ndarray:
  """Hashes uint64 values with a key to 0 .. side - 1; the mixing is MurmurHash3's finalizer."""
  x = x ^ key
  for factor in (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)):
    x = (x ^ (x >> np.uint64(33))) * factor
  return ((x ^ (x >> np.uint64(33))) >> np.uint64(32)) * side >> np.uint64(32)
