"""Raw pixels of images and of patches, which evaluations compare features with; they are not normalized."""

import dataclasses

import jax
import jax.numpy as jnp

from jaxssl.core.types import Array
from jaxssl.evals.preprocessing import Preprocessing
from jaxssl.models.network import Network

OF_IMAGE, OF_PATCH = 32, 8  # largest sides in pixels


def preprocessing(prep: Preprocessing, size: int) -> Preprocessing:
  """Returns the preprocessing of raw pixels of that size, which shows the same part of an image."""
  resize = round(prep.resize * size / prep.size)
  return dataclasses.replace(prep, size=size, resize=resize, mean=(0.0,) * prep.channels, std=(1.0,) * prep.channels)


def of_images(prep: Preprocessing, stored: Array, store: Array | None) -> Array:
  """Returns the pixels of images, float32 [b, f]; for `stored` and `store` see `Preprocessing.on_device`."""
  return preprocessing(prep, min(prep.size, OF_IMAGE)).on_device(stored, store).reshape(len(stored), -1)


def of_patches(network: Network, prep: Preprocessing, stored: Array, store: Array | None) -> Array:
  """Returns the pixels of the patches that the network has features of, float32 [b, rows, columns, f]."""
  rows, columns = patch_grid(network, prep)
  side = min(OF_PATCH, -(-prep.size // rows))
  images = preprocessing(prep, rows * side).on_device(stored, store)
  patches = images.reshape(len(stored), rows, side, columns, side, -1).swapaxes(2, 3)
  return patches.reshape(len(stored), rows, columns, -1)


def patch_grid(network: Network, prep: Preprocessing) -> tuple[int, int]:
  """Returns the rows and columns of the patches of an image. Raises UserError for a network without features of patches."""
  shape = (prep.size, prep.size, prep.channels)
  images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
  rows, columns = jax.eval_shape(network.patches, network.shapes(shape), images).shape[1:3]
  return rows, columns
