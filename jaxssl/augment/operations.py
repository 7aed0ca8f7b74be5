"""Defines augmentation operations: frozen dataclasses that apply to one image at a time.

`register` adds an operation under a name that `views.GROUP.extra` can give; docs/extending.md has an example.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar, TypeVar

import jax
import jax.numpy as jnp

from jaxssl.augment import color, geometry
from jaxssl.core.registry import Registry
from jaxssl.core.types import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operation:
  """Base class of operations. Fields are parameters; `max_value`, set by the pipeline, is 255 or (16-bit images) 65535.

  A geometric operation moves pixels. Linear probes and alignment use crops and geometric operations only.
  """

  geometric: ClassVar[bool] = False
  max_value: int = 255

  def __call__(self, key: Array, image: Array) -> Array:
    """Maps one image to another of the same shape: float32 [h, w, c] of values 0..max_value. Runs under `jit` and `vmap`."""
    raise NotImplementedError


OPERATIONS: Registry[type[Operation]] = Registry("views.GROUP.extra.name")
OperationClass = TypeVar("OperationClass", bound=type[Operation])


def register(name: str) -> Callable[[OperationClass], OperationClass]:
  """Returns a decorator that registers an operation class under a name. Raises UserError if the name is taken."""
  return OPERATIONS.register(name)  # type: ignore[return-value]


@register("affine")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Affine(Operation):
  """Rotates, shears, zooms and shifts, uniformly within the ranges, and distorts elastically."""

  geometric: ClassVar[bool] = True
  rotate: float = 0.0  # radians, uniform in +-
  shear: float = 0.0  # radians, uniform in +-
  zoom: tuple[float, float] = (1.0, 1.0)
  shift: float = 0.0  # pixels, uniform in +-, each axis
  elastic: float = 0.0  # pixels, standard deviation of the displacements of a 4 x 4 grid

  def __call__(self, key: Array, image: Array) -> Array:
    """Draws the map, and a displacement for each grid point."""
    draws = jax.random.uniform(key, (5 + 32 * bool(self.elastic),))
    rotate, shear = _between(-self.rotate, self.rotate, draws[0]), _between(-self.shear, self.shear, draws[1])
    bend = None
    if self.elastic:
      normal = jax.scipy.special.ndtri(jnp.maximum(draws[5:], 2.0**-24))  # which is infinite at 0
      bend = self.elastic * normal.reshape(4, 4, 2)
    shift = _between(-self.shift, self.shift, draws[3:5])
    return geometry.affine(image, rotate, shear, _between(*self.zoom, draws[2]), shift, bend)


@register("thicken")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Thicken(Operation):
  """Moves values towards the maximum (or minimum) of their 3 x 3 neighborhood by a share that is uniform in +-`strength`."""

  strength: float

  def __call__(self, key: Array, image: Array) -> Array:
    """Draws the share."""
    return color.thicken(image, _between(-self.strength, self.strength, jax.random.uniform(key)))


@register("flip")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Flip(Operation):
  """Swaps left and right."""

  geometric: ClassVar[bool] = True

  def __call__(self, key: Array, image: Array) -> Array:
    """Draws nothing."""
    return image[:, ::-1]


@register("color_jitter")
@dataclasses.dataclass(frozen=True, kw_only=True)
class ColorJitter(Operation):
  """Changes brightness, contrast, saturation and hue in random order, by factors within 1 +- strength and a turn in +-`hue`."""

  brightness: float = 0.0
  contrast: float = 0.0
  saturation: float = 0.0
  hue: float = 0.0

  def __call__(self, key: Array, image: Array) -> Array:
    """Draws the factors, the turn and the order."""
    draws = jax.random.uniform(key, (8,))
    strengths = (self.brightness, self.contrast, self.saturation)
    ranges = [*((max(0.0, 1 - s), 1 + s) if s else None for s in strengths), (-self.hue, self.hue) if self.hue else None]
    factors = [limits and _between(*limits, draws[i]) for i, limits in enumerate(ranges)]
    return color.jitter(image, draws[4:], factors, self.max_value)


@register("grayscale")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Grayscale(Operation):
  """Sets every channel to the gray image."""

  def __call__(self, key: Array, image: Array) -> Array:
    """Draws nothing."""
    return color.gray(image)


@register("gaussian_blur")
@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussianBlur(Operation):
  """Blurs with a standard deviation in pixels that is uniform in `sigma`."""

  sigma: tuple[float, float] = (0.1, 2.0)

  def __call__(self, key: Array, image: Array) -> Array:
    """Draws the standard deviation."""
    return color.blur(image, _between(*self.sigma, jax.random.uniform(key)), self.sigma[1], self.max_value)


@register("solarize")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Solarize(Operation):
  """Inverts values in the upper half of the range."""

  def __call__(self, key: Array, image: Array) -> Array:
    """Draws nothing."""
    return color.solarize(image, (self.max_value + 1) // 2, self.max_value)


def _between(low: float, high: float, share: Array) -> Array:
  return low + (high - low) * share
