"""Defines augmentation operations: frozen dataclasses that apply to one image at a time.

`register` adds an operation under a name that `views.GROUP.extra` can give; docs/extending.md has an example.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxssl.augment import color, geometry
from jaxssl.core import Registry
from jaxssl.core.types import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operation:
  """Base class of operations. Fields are parameters.

  A geometric operation moves pixels. Linear probes and alignment use crops and geometric operations only.
  """

  geometric: ClassVar[bool] = False
  p: tuple[float, ...] = (1.0,)  # probability with which it is applied: one per view, or one for all
  max_value: int = 255  # 255 or (16-bit images) 65535, set by the pipeline

  def __call__(self, key: Array, image: Array) -> Array:
    """Maps one image to another of the same shape: float32 [h, w, c] of values 0..max_value. Runs under `jit` and `vmap`."""
    raise NotImplementedError


OPERATIONS: Registry[type[Operation]] = Registry("views.GROUP.extra.name", dataclass=True)
register = OPERATIONS.register


@register("affine")
class Affine(Operation):
  """Rotates, shears, zooms and shifts, uniformly within the ranges, and distorts elastically."""

  geometric = True
  rotate: float = 0.0  # radians, uniform in +-
  shear: float = 0.0  # radians, uniform in +-
  zoom: tuple[float, float] = (1.0, 1.0)
  shift: float = 0.0  # pixels, uniform in +-, each axis
  elastic: float = 0.0  # pixels, standard deviation of the displacements of a 4 x 4 grid

  def __call__(self, key: Array, image: Array) -> Array:
    draws = jax.random.uniform(key, (5 + 32 * bool(self.elastic),))
    rotate, shear = _between(-self.rotate, self.rotate, draws[0]), _between(-self.shear, self.shear, draws[1])
    bend = None
    if self.elastic:
      normal = jax.scipy.special.ndtri(jnp.maximum(draws[5:], 2.0**-24))  # which is infinite at 0
      bend = self.elastic * normal.reshape(4, 4, 2)
    shift = _between(-self.shift, self.shift, draws[3:5])
    return geometry.affine(image, rotate, shear, _between(*self.zoom, draws[2]), shift, bend)


@register("thicken")
class Thicken(Operation):
  """Moves values towards the maximum (or minimum) of their 3 x 3 neighborhood by a share that is uniform in +-`strength`."""

  strength: float

  def __call__(self, key: Array, image: Array) -> Array:
    return color.thicken(image, _between(-self.strength, self.strength, jax.random.uniform(key)))


@register("flip")
class Flip(Operation):
  """Swaps left and right."""

  geometric = True

  def __call__(self, key: Array, image: Array) -> Array:
    return image[:, ::-1]


@register("color_jitter")
class ColorJitter(Operation):
  """Changes brightness, contrast, saturation and hue in random order, by factors within 1 +- strength and a turn in +-`hue`."""

  brightness: float = 0.0
  contrast: float = 0.0
  saturation: float = 0.0
  hue: float = 0.0

  def __call__(self, key: Array, image: Array) -> Array:
    draws = jax.random.uniform(key, (8,))
    strengths = (self.brightness, self.contrast, self.saturation)
    ranges = [*((max(0.0, 1 - s), 1 + s) if s else None for s in strengths), (-self.hue, self.hue) if self.hue else None]
    factors = [limits and _between(*limits, draws[i]) for i, limits in enumerate(ranges)]
    return color.jitter(image, draws[4:], factors, self.max_value)


@register("grayscale")
class Grayscale(Operation):
  """Sets every channel to the gray image."""

  def __call__(self, key: Array, image: Array) -> Array:
    return jnp.broadcast_to(color.luma(image), image.shape)


@register("gaussian_blur")
class GaussianBlur(Operation):
  """Blurs with a standard deviation in pixels that is uniform in `sigma`."""

  sigma: tuple[float, float] = (0.1, 2.0)

  def __call__(self, key: Array, image: Array) -> Array:
    return color.blur(image, _between(*self.sigma, jax.random.uniform(key)), self.sigma[1], self.max_value)


@register("solarize")
class Solarize(Operation):
  """Inverts values in the upper half of the range."""

  def __call__(self, key: Array, image: Array) -> Array:
    return jnp.where(image > self.max_value // 2, self.max_value - image, image)


def _between(low: float, high: float, share: Array) -> Array:
  return low + (high - low) * share
