"""Operations that change the pixel values of one image, with PIL's results on 8 bits.

Images as in `geometry.py`. Saturation, hue and gray are defined for red, green and blue only: with any other number of
channels they return the image unchanged, and each channel counts as a gray image of its own.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxssl.core.types import Array


def luma(image: Array) -> Array:
  """Returns the gray image [h, w, 1], or the image itself without three channels. Exact in float32 for 8 bits."""
  if image.shape[-1] != 3:
    return image
  red, green, blue = jnp.split(image, 3, axis=-1)
  return jnp.floor((19595 * red + 38470 * green + 7471 * blue + 32768) / 65536)


def _mean(gray: Array, max_value: int) -> Array:
  if max_value > 255:  # the sum would overflow 32 bits
    return jnp.floor(gray.mean((0, 1), keepdims=True) + 0.5)
  total, size = gray.astype(jnp.int32).sum((0, 1), keepdims=True), gray.shape[0] * gray.shape[1]
  return ((2 * total + size) // (2 * size)).astype(jnp.float32)


def hue(image: Array, turn: Array | float) -> Array:
  """Rotates hues by `turn` of the color circle, -0.5..0.5, through 8-bit hue and saturation and the full value.

  The rounding to 8 bits changes colors slightly even if `turn` is 0.
  """
  if image.shape[-1] != 3:
    return image
  red, green, blue = jnp.unstack(image, axis=-1)
  top, low = jnp.maximum(jnp.maximum(red, green), blue), jnp.minimum(jnp.minimum(red, green), blue)
  spread = top - low
  part = (2 * top + low - red - green - blue) / jnp.maximum(spread, 1.0)  # distance of the middle channel from the largest
  sixth = jnp.where(
    top == red,
    jnp.where(low == green, part - 1, 1 - part),
    jnp.where(top == green, jnp.where(low == blue, 1 + part, 3 - part), jnp.where(low == red, 3 + part, 5 - part)),
  )
  share = sixth / jnp.where(spread == 0, jnp.inf, 6.0)  # not a constant: compilers would multiply by its inverse
  share = jnp.where(share < 0, share + 1, share)
  angle = jnp.floor(share * 255) + jnp.trunc(jnp.asarray(turn) * 255)
  angle = jnp.where(angle < 0, angle + 256, jnp.where(angle >= 256, angle - 256, angle))
  depth = jnp.floor(spread * 255 / jnp.maximum(top, 1.0))
  # Each channel falls and rises along the circle of 6 x 255 steps, a third of the circle apart from the next.
  steps = 6 * angle[..., None] + jnp.array([[[1275.0, 765.0, 255.0]]])
  steps = jnp.where(steps >= 1530, steps - 1530, steps)
  fall = jnp.clip(jnp.minimum(steps, 1020 - steps), 0, 255)
  top = top[..., None]
  return jnp.floor(top - top * (depth[..., None] * fall) / 65025 + 0.5)


def jitter(image: Array, ranks: Array, factors: Sequence[Array | float | None], max_value: int = 255) -> Array:
  """Changes brightness, contrast, saturation and hue in the order of `ranks` [4], the smallest rank first.

  They blend the image with black, with the mean of the gray image, and with the gray image. `factors` holds the factor of
  each blend and the turn of the hue; None leaves that operation out.
  """
  color = image.shape[-1] == 3
  kinds = [i for i in range(3 if color else 2) if factors[i] is not None]
  turn = factors[3] if color else None
  if not kinds:
    return image if turn is None else hue(image, turn)
  order = jnp.argsort(ranks[jnp.array(kinds)])
  kind = jnp.array(kinds)[order]
  factor = jnp.stack([jnp.asarray(factors[i]) for i in kinds])[order]
  if turn is None:
    return _blends(image, kind, factor, max_value)
  # Hue costs more than all blends. It is computed once, between all blends that may precede it and all that may follow it.
  early = ranks[kind] < ranks[3]
  image = hue(_blends(image, kind, jnp.where(early, factor, 1.0), max_value), turn)
  return _blends(image, kind, jnp.where(early, 1.0, factor), max_value)


def _blends(image: Array, kinds: Array, factors: Array, max_value: int) -> Array:
  """Changes brightness (kind 0), contrast (1) and saturation (2) in the given order. A factor of 1 changes nothing."""
  stored = jnp.uint8 if max_value == 255 else jnp.uint16  # between two changes, which are bound by memory on a GPU

  def step(image: Array, op: tuple[Array, Array]) -> tuple[Array, None]:
    kind, factor = op
    image = image.astype(jnp.float32)
    gray = luma(image)
    other = jnp.where(kind == 0, 0.0, jnp.where(kind == 1, _mean(gray, max_value), gray))
    # Clipping before the sum keeps compilers from fusing it with the product, whose rounding would change whole sums.
    return jnp.floor(other + jnp.clip(factor * (image - other), -other, max_value - other)).astype(stored), None

  return jax.lax.scan(step, image.astype(stored), (kinds, factors))[0].astype(jnp.float32)


def thicken(image: Array, share: Array) -> Array:
  """Moves each value by `share` towards the maximum of its 3 x 3 neighborhood; by -share towards the minimum if negative."""

  def extreme(start: float, pick: Callable) -> Array:
    rows = jax.lax.reduce_window(image, start, pick, (3, 1, 1), (1, 1, 1), "SAME")  # then columns: a third of the work
    return jax.lax.reduce_window(rows, start, pick, (1, 3, 1), (1, 1, 1), "SAME")

  bright, dark = extreme(-jnp.inf, jax.lax.max), extreme(jnp.inf, jax.lax.min)
  return jnp.floor(image + jnp.maximum(share, 0) * (bright - image) + jnp.maximum(-share, 0) * (dark - image))


def blur(image: Array, sigma: Array | float, max_sigma: float, max_value: int = 255) -> Array:
  """Applies PIL's Gaussian blur: three box blurs whose radius gives the variance sigma^2, pixels (Gwosdek et al. 2011).

  No `sigma` is above `max_sigma`, which is static. A sigma of 0 changes nothing.
  """
  variance = jnp.square(sigma) / 3
  whole = jnp.floor((jnp.sqrt(12 * variance + 1) - 1) / 2)
  rest = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - jnp.square(whole + 1)))
  unit = 2**32 // (max_value + 1)  # the sum of the weights, so that the brightest value fits into 32 bits
  inner = jnp.floor(unit / (2 * (whole + rest) + 1))
  outer = jnp.floor((unit - (2 * whole + 1) * inner) / 2)
  reach = int(((4 * max_sigma**2 + 1) ** 0.5 - 1) / 2) + 1
  distance = jnp.abs(jnp.arange(-reach, reach + 1))
  weights = jnp.where(distance <= whole, inner, jnp.where(distance <= whole + 1, outer, 0.0)).astype(jnp.uint32)

  def along(axis: int, image: Array) -> Array:
    pad = [(reach, reach) if i == axis else (0, 0) for i in range(3)]
    side = image.shape[axis]

    def box(_: int, image: Array) -> Array:
      padded = jnp.pad(image, pad, mode="edge")
      total = jnp.full_like(image, unit // 2)
      for i in range(2 * reach + 1):
        total += weights[i] * jax.lax.slice_in_dim(padded, i, i + side, axis=axis)
      return total // unit

    return jax.lax.fori_loop(0, 3, box, image)

  return along(0, along(1, image.astype(jnp.uint32))).astype(jnp.float32)


def normalize(image: Array, mean: Sequence[float], std: Sequence[float], max_value: int = 255) -> Array:
  """Scales to 0..1, then subtracts each channel's mean and divides by its standard deviation."""
  return (image / max_value - jnp.array(mean, ndmin=3)) / jnp.array(std, ndmin=3)
