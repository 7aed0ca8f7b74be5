"""The order in which images are read, a pure function of (seed, epoch, partners): a restart needs no saved iterator."""

import numpy as np

from jaxssl.core import UserError
from jaxssl.core.rng import generator


def steps(num_images: int, batch_size: int) -> int:
  """Returns the number of full batches in an epoch. Raises UserError if there is none."""
  if not 0 < batch_size <= num_images:
    raise UserError(f"train.batch_size={batch_size}: the training set has {num_images} images; expected 1 to {num_images}")
  return num_images // batch_size


def evenly_spaced(num_images: int, most: int) -> np.ndarray:
  """Returns at most `most` positions, ascending and evenly spaced from the first image to the last, int [m]."""
  return np.unique(np.linspace(0, max(num_images - 1, 0), most).round().astype(int))[:num_images]


def epoch_plan(
  seed: int, epoch: int, num_images: int, batch_size: int, partners: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
  """Shuffles a dataset for one epoch and drops the incomplete last batch.

  `partners`: int [num_images], the image that supplies the second view of each; None: the image itself.
  Returns index and partner, int32 [steps, batch_size]. Raises UserError if not even one batch can be filled.
  """
  count = steps(num_images, batch_size)
  order = generator(seed, "order", epoch).permutation(num_images)[: count * batch_size]
  index = order.reshape(count, batch_size).astype(np.int32)
  return index, index if partners is None else np.asarray(partners)[index].astype(np.int32)
