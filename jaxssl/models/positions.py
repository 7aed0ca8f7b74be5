"""Positions of the patches of an image: a fixed table of sines and cosines, and the interpolation to another grid."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxssl.core.types import Array

WAVELENGTH = 10_000  # the ratio of the lowest to the highest frequency, nearly (arXiv 1706.03762, section 3.5)


def sincos(side: int, dim: int) -> np.ndarray:
  """Returns the positions of MoCo v3 (arXiv 2104.02057) for a grid of side x side patches, float32 [1, 1 + side^2, dim].

  Each quarter of the dimensions holds sin(row w), cos(row w), sin(column w), cos(column w), with dim / 4 frequencies w from 1
  to almost 1/10,000. The class token, the first, has zeros. 4 must divide `dim`.
  """
  frequencies = WAVELENGTH ** -(np.arange(dim // 4) / (dim // 4))
  rows, columns = (place.reshape(-1, 1) * frequencies for place in np.indices((side, side)))
  table = np.concatenate([np.sin(rows), np.cos(rows), np.sin(columns), np.cos(columns)], axis=1)
  return np.concatenate([np.zeros((1, dim)), table]).astype(np.float32)[None]


def positions(embedding: Array, grid: tuple[int, int], offset: float) -> Array:
  """Interpolates position embeddings [1, 1 + n * n, d] to a grid of (rows, columns); returns [1, 1 + rows * columns, d].

  The class token's position, the first, is kept. The interpolation is bicubic (a = -0.75), with repeated borders and without
  antialiasing. An axis of m patches is scaled by (m + offset) / n; DINO's released weights expect an offset of 0.1.
  """
  native, dim = math.isqrt(embedding.shape[1] - 1), embedding.shape[2]
  if grid == (native, native):
    return embedding
  first, rest = embedding[:, :1], embedding[:, 1:].reshape(1, native, native, dim)
  down, across = (_bicubic(native, count, (count + offset) / native) for count in grid)
  rest = jnp.einsum("ri,cj,bijd->brcd", down, across, rest, precision=jax.lax.Precision.HIGHEST)
  return jnp.concatenate([first, rest.reshape(1, -1, dim)], axis=1)


def _bicubic(native: int, count: int, scale: float) -> np.ndarray:
  """Returns the weights, float32 [count, native], of cubic convolution (a = -0.75) that resamples one axis."""
  source = (np.arange(count) + 0.5) / scale - 0.5
  start = np.floor(source).astype(int)
  weights = np.zeros((count, native))
  for tap in range(-1, 3):
    distance = np.abs(source - (start + tap))
    near = (1.25 * distance - 2.25) * distance**2 + 1
    far = -0.75 * (((distance - 5) * distance + 8) * distance - 4)
    np.add.at(weights, (np.arange(count), np.clip(start + tap, 0, native - 1)), np.where(distance <= 1, near, far))
  return weights.astype(np.float32)
