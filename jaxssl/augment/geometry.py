"""What moves the pixels of one image, as PIL does it to 8 bits.

An image is float32 [h, w, c] of whole numbers in 0..`most`, 255 or (16 bits) 65535; so is what comes back, cut or rounded
where PIL cuts or rounds. Parameters may be traced, sizes may not. One image at a time: `vmap` for more.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxssl.core.types import Array

Interpolation = Literal["bilinear", "bicubic"]


def crop_resize(
  image: Array, box: Sequence[Array | int] | Array, size: tuple[int, int], how: Interpolation, most: int = 255
) -> Array:
  """Cuts out `box` (top, left, height, width; whole numbers) and resizes it to `size`: [h, w, c] -> [*size, c].

  The filter is widened where the cut-out shrinks, and sees nothing outside of it. The width is resized first, as in PIL; that
  Pillow 13 starts with the height of tall boxes, and how PIL rounds what lies halfway, may make a value differ by one.
  """
  top, left, height, width = box
  rows = _weights(top, height, image.shape[0], size[0], how)
  columns = _weights(left, width, image.shape[1], size[1], how)
  image = _whole(jnp.einsum("tw,hwc->htc", columns, image, precision="highest"), most)
  return _whole(jnp.einsum("sh,htc->stc", rows, image, precision="highest"), most)


def _weights(start: Array | int, length: Array | int, before: int, after: int, how: Interpolation) -> Array:
  """How much each of `before` pixels counts for each of the `after` that `length` of them, from `start` on, become."""
  at = jnp.arange(before)[None, :] - start
  # Distances between pixel centers in units of the filter: whole numbers up to the division, else float32 is not enough.
  gap = jnp.abs((2 * at + 1) * after - (2 * jnp.arange(after)[:, None] + 1) * length) / (2.0 * jnp.maximum(length, after))
  if how == "bilinear":
    weights = jnp.maximum(1.0 - gap, 0.0)
  else:
    near, far = (1.5 * gap - 2.5) * gap * gap + 1.0, ((2.5 - 0.5 * gap) * gap - 4.0) * gap + 2.0
    weights = jnp.where(gap < 1.0, near, jnp.where(gap < 2.0, far, 0.0))
  weights = jnp.where((at >= 0) & (at < length), weights, 0.0)
  return weights / weights.sum(axis=1, keepdims=True)


def _whole(value: Array, most: int) -> Array:
  """Rounds into 0..most."""
  return jnp.clip(jnp.floor(value + 0.5), 0.0, most)


def resize(image: Array, size: tuple[int, int], how: Interpolation, most: int = 255) -> Array:
  """Resizes the whole image: [h, w, c] -> [*size, c]."""
  if image.shape[:2] == size:
    return image
  return crop_resize(image, (0, 0, *image.shape[:2]), size, how, most)


def center_crop(image: Array, size: int) -> Array:
  """Cuts the middle out of an image that is at least `size` high and wide: [h, w, c] -> [size, size, c]."""
  top, left = (round((side - size) / 2) for side in image.shape[:2])
  return image[top : top + size, left : left + size]


def flip(image: Array) -> Array:
  """Swaps left and right."""
  return image[:, ::-1]


def affine(image: Array, rotate: Array, shear: Array, zoom: Array, shift: Array, bend: Array | float = 0.0) -> Array:
  """Shears along x, turns clockwise (both radians), zooms, all about the center, then shifts by (x, y) pixels.

  `bend`: displacements [4, 4, 2] in pixels (x, y), spread smoothly over the image (elastic distortion). Bilinear; black
  where nothing was.
  """
  height, width, _ = image.shape
  y, x = jnp.mgrid[:height, :width]
  x, y = (x - (width - 1) / 2 - shift[0]) / zoom, (y - (height - 1) / 2 - shift[1]) / zoom
  x, y = jnp.cos(rotate) * x + jnp.sin(rotate) * y, jnp.cos(rotate) * y - jnp.sin(rotate) * x
  x, y = x + jnp.tan(shear) * y + (width - 1) / 2, y + (height - 1) / 2
  if isinstance(bend, Array):
    wide = jax.image.resize(bend, (height, width, 2), "cubic")
    x, y = x + wide[..., 0], y + wide[..., 1]
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


def thicken(image: Array, share: Array) -> Array:
  """Moves every value by `share` towards the largest of its 3 x 3 neighborhood; by -share towards the smallest if negative."""

  def extreme(start: float, pick: Callable) -> Array:
    return jax.lax.reduce_window(image, start, pick, (3, 3, 1), (1, 1, 1), "SAME")

  bright, dark = extreme(-jnp.inf, jax.lax.max), extreme(jnp.inf, jax.lax.min)
  return jnp.floor(image + jnp.maximum(share, 0) * (bright - image) + jnp.maximum(-share, 0) * (dark - image))


def blur(image: Array, sigma: Array | float, largest: float, most: int = 255) -> Array:
  """PIL's Gaussian blur: three box blurs, of radius (Gwosdek et al. 2011) so that the variance is sigma^2, pixels.

  `largest`: no sigma is above it. A sigma of 0 changes nothing.
  """
  variance = jnp.square(sigma) / 3
  whole = jnp.floor((jnp.sqrt(12 * variance + 1) - 1) / 2)
  rest = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - jnp.square(whole + 1)))
  unit = 2**32 // (most + 1)  # what weights add up to, so that the brightest fits into 32 bits
  inner = jnp.floor(unit / (2 * (whole + rest) + 1))
  outer = jnp.floor((unit - (2 * whole + 1) * inner) / 2)
  reach = int(((4 * largest**2 + 1) ** 0.5 - 1) / 2) + 1
  far = jnp.abs(jnp.arange(-reach, reach + 1))
  weights = jnp.where(far <= whole, inner, jnp.where(far <= whole + 1, outer, 0.0)).astype(jnp.uint32)

  def along(axis: int, image: Array) -> Array:
    pad = [(reach, reach) if i == axis else (0, 0) for i in range(3)]
    side = image.shape[axis]

    def box(_: int, image: Array) -> Array:
      wide = jnp.pad(image, pad, mode="edge")
      total = jnp.full_like(image, unit // 2)
      for i in range(2 * reach + 1):
        total += weights[i] * jax.lax.slice_in_dim(wide, i, i + side, axis=axis)
      return total // unit

    return jax.lax.fori_loop(0, 3, box, image)

  return along(0, along(1, image.astype(jnp.uint32))).astype(jnp.float32)


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
  image = jnp.array([[height, width]])
  fits = jnp.all((tried > 0) & (tried <= image[None]), axis=-1)
  drawn = jnp.take_along_axis(tried, fits.argmax(axis=1)[:, None, None], axis=1)[:, 0]
  nearest = min(max(width / height, ratio[0]), ratio[1])
  largest = jnp.array([[min(height, round(width / nearest)), min(width, round(height * nearest))]])
  place = jnp.floor(place * (image - drawn + 1)).astype(jnp.int32)
  found = fits.any(axis=1, keepdims=True)
  place = jnp.where(found, place, (image - largest) // 2)
  return jnp.concatenate([place, jnp.where(found, drawn, largest)], axis=1)


Box = tuple[int, int, int, int]  # top, left, height, width in pixels


def random_box(
  rng: np.random.Generator, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> Box:
  """Draws a box as torchvision's RandomResizedCrop does.

  `scale`: range of its share of the area, uniform; (0, 0): the whole image. `ratio`: range of width over height, uniform in
  the logarithm. Ten boxes are tried; if none fits, the largest centerd one of an allowed ratio is taken.
  """
  if scale == (0, 0):
    return 0, 0, height, width
  low, high = math.log(ratio[0]), math.log(ratio[1])
  for _ in range(_ATTEMPTS):
    share, turn, down, across = rng.random(4)
    area = height * width * (scale[0] + (scale[1] - scale[0]) * share)
    aspect = math.exp(low + (high - low) * turn)
    w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    if 0 < w <= width and 0 < h <= height:
      return int(down * (height - h + 1)), int(across * (width - w + 1)), h, w
  aspect = min(max(width / height, ratio[0]), ratio[1])
  h, w = (max(1, min(side, round(of))) for side, of in ((height, width / aspect), (width, height * aspect)))
  return (height - h) // 2, (width - w) // 2, h, w
