"""Where random crops lie."""

import math

import jax
import jax.numpy as jnp

from jaxssl.types import Array

_ATTEMPTS = 10


def sample_boxes(
  key: Array, num: int, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> Array:
  """Draws int32 [num, 4] boxes (top, left, height, width) as torchvision's RandomResizedCrop does.

  `scale`: range of the share of the area, uniform; `ratio`: range of width over height, uniform in the logarithm. Ten shapes
  are tried; if none fits, the box is the largest of an allowed ratio, in the middle.
  """
  draws = jax.random.uniform(key, (num, 2 * _ATTEMPTS + 2))
  share, turn, place = jnp.split(draws, (_ATTEMPTS, 2 * _ATTEMPTS), axis=1)
  area = height * width * (scale[0] + (scale[1] - scale[0]) * share)
  aspect = jnp.exp(math.log(ratio[0]) + math.log(ratio[1] / ratio[0]) * turn)
  tried = jnp.round(jnp.sqrt(jnp.stack([area / aspect, area * aspect], axis=-1))).astype(jnp.int32)
  picture = jnp.array([[height, width]])
  fits = jnp.all((tried > 0) & (tried <= picture[None]), axis=-1)
  drawn = jnp.take_along_axis(tried, fits.argmax(axis=1)[:, None, None], axis=1)[:, 0]
  nearest = min(max(width / height, ratio[0]), ratio[1])
  largest = jnp.array([[min(height, round(width / nearest)), min(width, round(height * nearest))]])
  place = jnp.floor(place * (picture - drawn + 1)).astype(jnp.int32)
  found = fits.any(axis=1, keepdims=True)
  place = jnp.where(found, place, (picture - largest) // 2)
  return jnp.concatenate([place, jnp.where(found, drawn, largest)], axis=1)
