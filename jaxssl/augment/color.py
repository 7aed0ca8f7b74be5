"""What changes the colors of one image, as PIL does it to 8 bits.

Images as in `image.py`. Saturation, hue and gray are about red, green and blue: without three channels they change nothing.
There each channel is its own gray image.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxssl.core.types import Array


def brightness(image: Array, factor: Array | float, most: int = 255) -> Array:
  """Mixes with black."""
  return _blend(image, 0.0, factor, most)


def contrast(image: Array, factor: Array | float, most: int = 255) -> Array:
  """Mixes with the mean of the gray image."""
  return _blend(image, _mean(_luma(image), most), factor, most)


def saturation(image: Array, factor: Array | float, most: int = 255) -> Array:
  """Mixes with the gray image."""
  return _blend(image, _luma(image), factor, most)


def _blend(image: Array, other: Array | float, factor: Array | float, most: int) -> Array:
  """`other` + factor (image - other), cut off. A factor of 1 changes nothing."""
  # Clipping before the sum keeps compilers from fusing it with the product, whose rounding shows where the sum is whole.
  return jnp.floor(other + jnp.clip(factor * (image - other), -other, most - other))


def _luma(image: Array) -> Array:
  """The gray image, [h, w, 1]; without three channels [h, w, c]. Of 8 bits every number on the way is whole."""
  if image.shape[-1] != 3:
    return image
  red, green, blue = jnp.split(image, 3, axis=-1)
  return jnp.floor((19595 * red + 38470 * green + 7471 * blue + 32768) / 65536)


def _mean(luma: Array, most: int) -> Array:
  """The mean of each channel, rounded: [1, 1, c]."""
  if most > 255:  # whole numbers would not fit into 32 bits
    return jnp.floor(luma.mean((0, 1), keepdims=True) + 0.5)
  total, size = luma.astype(jnp.int32).sum((0, 1), keepdims=True), luma.shape[0] * luma.shape[1]
  return ((2 * total + size) // (2 * size)).astype(jnp.float32)


def gray(image: Array) -> Array:
  """Turns every channel gray."""
  return jnp.broadcast_to(_luma(image), image.shape)


def hue(image: Array, turn: Array | float) -> Array:
  """Turns hues by `turn` of the color circle, -0.5..0.5, by way of 8-bit hue, saturation and value.

  Rounding to 8 bits loses something even where `turn` is 0. Of 16 bits, the value keeps all.
  """
  if image.shape[-1] != 3:
    return image
  red, green, blue = jnp.unstack(image, axis=-1)
  top, low = jnp.maximum(jnp.maximum(red, green), blue), jnp.minimum(jnp.minimum(red, green), blue)
  spread = top - low
  part = (2 * top + low - red - green - blue) / jnp.maximum(spread, 1.0)  # how far the middle channel is from the top one
  sixth = jnp.where(
    top == red,
    jnp.where(low == green, part - 1, 1 - part),
    jnp.where(top == green, jnp.where(low == blue, 1 + part, 3 - part), jnp.where(low == red, 3 + part, 5 - part)),
  )
  share = sixth / jnp.where(spread == 0, jnp.inf, 6.0)  # not by a constant: compilers would multiply by its inverse
  share = jnp.where(share < 0, share + 1, share)
  angle = jnp.floor(share * 255) + jnp.trunc(jnp.asarray(turn) * 255)
  angle = jnp.where(angle < 0, angle + 256, jnp.where(angle >= 256, angle - 256, angle))
  depth = jnp.floor(spread * 255 / jnp.maximum(top, 1.0))
  # Each channel falls and rises along the circle of 6 x 255 steps, a third of it apart from the next.
  steps = 6 * angle[..., None] + jnp.array([[[1275.0, 765.0, 255.0]]])
  steps = jnp.where(steps >= 1530, steps - 1530, steps)
  fall = jnp.clip(jnp.minimum(steps, 1020 - steps), 0, 255)
  top = top[..., None]
  return jnp.floor(top - top * (depth[..., None] * fall) / 65025 + 0.5)


def jitter(
  image: Array, places: Array, factors: Sequence[Array | float | None], on: Array | bool = True, most: int = 255
) -> Array:
  """Brightness, contrast, saturation and hue, ordered by their `places`, [4]: the smallest comes first.

  `factors`: one of each, as the ops take them; None leaves that one out. Nothing changes unless `on`.
  """
  color = image.shape[-1] == 3
  kinds = [i for i in range(3 if color else 2) if factors[i] is not None]
  turn = factors[3] if color else None

  def turned(image: Array) -> Array:
    return image if turn is None else jnp.where(on, hue(image, turn), image)

  if not kinds:
    return turned(image)
  order = jnp.argsort(places[jnp.array(kinds)])
  kind = jnp.array(kinds)[order]
  factor = jnp.where(on, jnp.stack([jnp.asarray(factors[i]) for i in kinds])[order], 1.0)
  if turn is None:
    return _blends(image, kind, factor, most)
  # Hue costs more than the rest together. It is computed once, between all that may come before it and all that may follow.
  early = places[kind] < places[3]
  image = turned(_blends(image, kind, jnp.where(early, factor, 1.0), most))
  return _blends(image, kind, jnp.where(early, 1.0, factor), most)


def _blends(image: Array, kinds: Array, factors: Array, most: int) -> Array:
  """Applies one of brightness (kind 0), contrast (1) and saturation (2) after the other."""

  def step(image: Array, op: tuple[Array, Array]) -> tuple[Array, None]:
    kind, factor = op
    luma = _luma(image)
    other = jnp.where(kind == 0, 0.0, jnp.where(kind == 1, _mean(luma, most), luma))
    return _blend(image, other, factor, most), None

  return jax.lax.scan(step, image, (kinds, factors))[0]


def solarize(image: Array, threshold: Array | int = 128, most: int = 255) -> Array:
  """Inverts what is at `threshold` or above."""
  return jnp.where(image >= threshold, most - image, image)


def normalize(image: Array, mean: Sequence[float], std: Sequence[float], most: int = 255) -> Array:
  """Scales to 0..1, then by channel to the given mean and standard deviation."""
  return (image / most - jnp.array(mean, ndmin=3)) / jnp.array(std, ndmin=3)
