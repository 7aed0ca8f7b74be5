"""Operations that move the pixels of one image, with PIL's results on 8 bits, and the random boxes of crops, with JAX.

An image is float32 [h, w, c] of whole numbers in 0..max_value, 255 or (16 bits) 65535, and so is the result, truncated or
rounded as PIL does. Parameters may be traced, sizes may not. All functions take one image; use `vmap` for more.
"""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp

from jaxssl.augment.boxes import ATTEMPTS, Range, area_and_log_aspect, largest_box
from jaxssl.core.types import Array

Interpolation = Literal["bilinear", "bicubic"]


def crop_resize(
  image: Array, box: Sequence[Array | int] | Array, size: tuple[int, int], interpolation: Interpolation, max_value: int = 255
) -> Array:
  """Crops `box` (top, left, height, width; whole numbers) and resizes it to `size`: [h, w, c] -> [*size, c].

  The filter is widened if the crop shrinks (antialiasing) and reads nothing outside the box. The width is resized first, as
  in PIL. Pillow 13 resizes the height of tall boxes first and rounds ties its own way, so values may differ by one.
  """
  top, left, height, width = box
  rows = _filter_weights(top, height, image.shape[0], size[0], interpolation)
  columns = _filter_weights(left, width, image.shape[1], size[1], interpolation)
  image = _round(jnp.einsum("tw,hwc->htc", columns, image, precision="highest"), max_value)
  return _round(jnp.einsum("sh,htc->stc", rows, image, precision="highest"), max_value)


def _filter_weights(start: Array | int, length: Array | int, before: int, after: int, interpolation: Interpolation) -> Array:
  """Returns float32 [after, before]: the weights with which `length` pixels from `start` on are resized to `after`."""
  at = jnp.arange(before)[None, :] - start
  # Distances between pixel centers in units of the filter. Whole numbers up to the division: float32 is not precise enough.
  gap = jnp.abs((2 * at + 1) * after - (2 * jnp.arange(after)[:, None] + 1) * length) / (2.0 * jnp.maximum(length, after))
  if interpolation == "bilinear":
    weights = jnp.maximum(1.0 - gap, 0.0)
  else:
    near, far = (1.5 * gap - 2.5) * gap * gap + 1.0, ((2.5 - 0.5 * gap) * gap - 4.0) * gap + 2.0
    weights = jnp.where(gap < 1.0, near, jnp.where(gap < 2.0, far, 0.0))
  weights = jnp.where((at >= 0) & (at < length), weights, 0.0)
  return weights / weights.sum(axis=1, keepdims=True)


def _round(value: Array, max_value: int) -> Array:
  return jnp.clip(jnp.floor(value + 0.5), 0.0, max_value)


def affine(image: Array, rotate: Array, shear: Array, zoom: Array, shift: Array, bend: Array | None = None) -> Array:
  """Shears along x, rotates clockwise (both in radians) and zooms about the center, then shifts by (x, y) pixels.

  `bend`: float32 [4, 4, 2] displacements in pixels (x, y), interpolated over the image (elastic distortion). Sampling is
  bilinear; pixels from outside the image are black.
  """
  height, width, _ = image.shape
  y, x = jnp.mgrid[:height, :width]
  x, y = (x - (width - 1) / 2 - shift[0]) / zoom, (y - (height - 1) / 2 - shift[1]) / zoom
  x, y = jnp.cos(rotate) * x + jnp.sin(rotate) * y, jnp.cos(rotate) * y - jnp.sin(rotate) * x
  x, y = x + jnp.tan(shear) * y + (width - 1) / 2, y + (height - 1) / 2
  if bend is not None:
    displacement = jax.image.resize(bend, (height, width, 2), "cubic")
    x, y = x + displacement[..., 0], y + displacement[..., 1]
  left, top = jnp.floor(x), jnp.floor(y)

  def at(row: Array, column: Array) -> Array:
    row, column = jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)
    return image[row.astype(jnp.int32), column.astype(jnp.int32)]

  def mix(a: Array, b: Array, share: Array) -> Array:
    return a + (b - a) * share[..., None]

  above = mix(at(top, left), at(top, left + 1), x - left)
  below = mix(at(top + 1, left), at(top + 1, left + 1), x - left)
  inside = (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)
  return jnp.where(inside[..., None], jnp.floor(mix(above, below, y - top)), 0.0)


def random_boxes(key: Array, num: int, height: int, width: int, scale: Range, ratio: Range) -> Array:
  """Draws int32 [num, 4] boxes for crops on the accelerator; arguments and distribution are those of `boxes.box_of`.

  All ten shapes are computed, since a loop that may stop early does not vectorize, so the random bits differ.
  """
  if scale == (0, 0):
    return jnp.tile(jnp.array([[0, 0, height, width]]), (num, 1))
  draws = jax.random.uniform(key, (num, 2 * ATTEMPTS + 2))
  share, turn, place = jnp.split(draws, (ATTEMPTS, 2 * ATTEMPTS), axis=1)
  area, log_aspect = area_and_log_aspect(share, turn, height, width, scale, ratio)
  aspect = jnp.exp(log_aspect)
  shapes = jnp.round(jnp.sqrt(jnp.stack([area / aspect, area * aspect], axis=-1))).astype(jnp.int32)
  image = jnp.array([[height, width]])
  fits = jnp.all((shapes > 0) & (shapes <= image[None]), axis=-1)
  shape = jnp.take_along_axis(shapes, fits.argmax(axis=1)[:, None, None], axis=1)[:, 0]
  boxes = jnp.concatenate([jnp.floor(place * (image - shape + 1)).astype(jnp.int32), shape], axis=1)
  return jnp.where(fits.any(axis=1, keepdims=True), boxes, jnp.array([largest_box(height, width, ratio)]))
