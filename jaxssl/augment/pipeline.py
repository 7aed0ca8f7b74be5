"""Random views, made under jit.

Two stages, since images that stay on the host are cropped there: `crop` cuts the views, `finish` applies the operations.
Each random number is a function of (key, group, row, view) alone. In `finish`, the key of a row is
`fold_in(fold_in(key, group), row)`. The operation at a position of a view's list, counted from 1, draws from
`fold_in(row key, 256 view + position)`; position 0 draws which operations are applied.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxssl.augment import color, geometry
from jaxssl.augment import operations as ops
from jaxssl.augment.geometry import Interpolation
from jaxssl.config.parse import read
from jaxssl.config.schema import ViewConfig
from jaxssl.core import UserError, unknown_name
from jaxssl.core.types import Array

GROUPS = ("global", "local", "weak", "strong")
_VIEW = 256  # positions that each view has in the random stream of its row
_fold_in = jnp.vectorize(jax.random.fold_in)


def crop(key: Array, images: Array, views: Mapping[str, ViewConfig]) -> dict[str, Array]:
  """Crops all views: images [b, 2, h, w, c], each row an image and its partner, -> group -> [b, v, s, s, c], same dtype."""
  height, width = images.shape[2:4]

  def group(name: str, view: ViewConfig) -> Array:
    group_key, runs = jax.random.fold_in(key, GROUPS.index(name)), list(_runs(each(view.partner, view)))
    settings = {"size": (view.size, view.size), "interpolation": view.interpolation, "max_value": _max_value(images)}
    resize = jax.vmap(functools.partial(geometry.crop_resize, **settings), (None, 0))

    def cut(row: Array, pair: Array) -> Array:
      row_key = jax.random.fold_in(group_key, row)
      boxes = geometry.random_boxes(row_key, view.count, height, width, view.crop_scale, view.crop_ratio)
      cuts = [resize(pair[int(partner)].astype(jnp.float32), boxes[run]) for partner, run in runs]
      return jnp.concatenate(cuts).astype(images.dtype)

    return jax.vmap(cut)(jnp.arange(len(images)), images)

  return {name: group(name, view) for name, view in views.items()}


def finish(
  key: Array,
  crops: Mapping[str, Array],
  views: Mapping[str, ViewConfig],
  mean: Sequence[float],
  std: Sequence[float],
  geometric_only: bool = False,
) -> dict[str, Array]:
  """Applies the operations of `augmentations`, then normalizes.

  `crops`: uint8, uint16, or float of whole numbers up to 255, [b, v, s, s, c] by group; the result is float32 of the same
  shapes. `geometric_only` leaves out the operations that change more than the positions of pixels.
  """

  def group(name: str, view: ViewConfig) -> Array:
    images, group_key = crops[name], jax.random.fold_in(key, GROUPS.index(name))
    max_value = _max_value(images)
    lists = [augmentations(name, view, v, max_value) for v in range(view.count)]
    if geometric_only:
      lists = [[(operation, p) for operation, p in steps if operation.geometric] for steps in lists]
    positions = jnp.arange(1 + max(map(len, lists)))
    row_keys = _fold_in(group_key[None], jnp.arange(len(images)))
    # One call draws the keys of all views and positions, since every call to the generator adds compile time.
    numbers = _VIEW * jnp.arange(view.count)[:, None] + positions[None]
    keys = _fold_in(row_keys[:, None, None], numbers[None])
    chances = jax.vmap(jax.vmap(lambda key: jax.random.uniform(key, (len(positions) - 1,))))(keys[:, :, 0])

    def augment(steps: Sequence[tuple[ops.Operation, float]], keys: Array, chances: Array, image: Array) -> Array:
      image = image.astype(jnp.float32)
      for i, (operation, p) in enumerate(steps):
        augmented = operation(keys[i + 1], image)
        # After a geometric operation, the select keeps XLA from repeating its gathers in each window of a filter that follows.
        always = p == 1 and not operation.geometric
        image = augmented if always else jnp.where(chances[i] < p, augmented, image)
      return color.normalize(image, mean, std, max_value)

    done = [
      jax.vmap(jax.vmap(functools.partial(augment, steps)))(keys[:, run], chances[:, run], images[:, run])
      for steps, run in _runs(lists)
    ]
    return jnp.concatenate(done, axis=1)

  return {name: group(name, view) for name, view in views.items()}


def augmentations(group: str, view: ViewConfig, v: int, max_value: int = 255) -> list[tuple[ops.Operation, float]]:
  """Lists the operations of view number `v` of a group and their probabilities, in order, without those of 0.

  Raises UserError for entries of `views.GROUP.extra` that cannot be read.
  """
  brightness, contrast, saturation, hue = view.jitter
  jitter_p = view.jitter_p if any(view.jitter) else 0.0
  operations = [
    ops.Affine(rotate=view.rotate, shear=view.shear, zoom=view.zoom, shift=view.shift, elastic=view.elastic, p=(view.affine,)),
    ops.Thicken(strength=view.thicken, p=(1.0 if view.thicken else 0.0,)),
    ops.Flip(p=(view.flip,)),
    ops.ColorJitter(brightness=brightness, contrast=contrast, saturation=saturation, hue=hue, p=(jitter_p,)),
    ops.Grayscale(p=(view.gray_p,)),
    ops.GaussianBlur(sigma=view.blur_sigma, p=view.blur_p),
    ops.Solarize(p=view.solarize_p),
  ]
  for i, entry in enumerate(view.extra):
    where, parameters = f"views.{group}.extra[{i}].", dict(entry)
    operation = read(ops.OPERATIONS.find(parameters.pop("name", ""), f"{where}name"), parameters, where)
    if len(operation.p) not in (1, view.count) or not all(0 <= p <= 1 for p in operation.p):
      p = entry.get("p", operation.p)
      raise UserError(f"{where}p={p!r}: expected 1 or {view.count} probabilities (one a view) in 0..1")
    operations.append(operation)
  steps = [(dataclasses.replace(operation, max_value=max_value), each(operation.p, view)[v]) for operation in operations]
  return [(operation, p) for operation, p in steps if p]


def show(
  images: Array, size: int, resize: int, mean: Sequence[float], std: Sequence[float], method: Interpolation = "bicubic"
) -> Array:
  """Returns the one view that evaluations use: uint8 or uint16 [b, h, w, c] -> float32 [b, size, size, c].

  `resize` 0 resizes the whole image to `size` x `size`; otherwise the shorter side is resized to it and the center cropped.
  """
  max_value = _max_value(images)
  height, width = images.shape[1:3]
  shorter = min(height, width)
  shape = (resize * height // shorter, resize * width // shorter) if resize else (size, size)
  top, left = (round((side - size) / 2) for side in shape)

  def show_image(image: Array) -> Array:
    image = image.astype(jnp.float32)
    if shape != (height, width):
      image = geometry.crop_resize(image, (0, 0, height, width), shape, method, max_value)
    return color.normalize(image[top : top + size, left : left + size], mean, std, max_value)

  return jax.vmap(show_image)(images)


def check(views: Mapping[str, ViewConfig], image_hw: tuple[int, int] | None) -> None:
  """Raises UserError for views that cannot be made. `image_hw`: height and width of the images if all have the same."""
  for name, view in views.items():
    if name not in GROUPS:
      raise unknown_name(f"views.{name}: unknown view group", name, GROUPS)
    for field, right, rule in _rules(view, image_hw):
      if not right:
        raise UserError(f"views.{name}.{field}={getattr(view, field)!r}: {rule}")
    augmentations(name, view, 0)


def of_colors(views: Mapping[str, ViewConfig]) -> list[str]:
  """Returns the names of the configured color changes that need three channels (red, green, blue)."""
  used = {
    "saturation": any(view.jitter[2] * view.jitter_p for view in views.values()),
    "hue": any(view.jitter[3] * view.jitter_p for view in views.values()),
    "gray": any(view.gray_p for view in views.values()),
  }
  return [name for name, value in used.items() if value]


def _rules(view: ViewConfig, image_hw: tuple[int, int] | None) -> Iterator[tuple[str, bool, str]]:
  """Yields (field, whether it is valid, the expectation) lazily, since a rule may rely on those before it."""
  yield "count", view.count >= 1, "expected at least 1 view"
  yield "size", view.size >= 1, "expected at least 1 pixel"
  for field in ("partner", "blur_p", "solarize_p"):
    right, count = len(getattr(view, field)) in (1, view.count), view.count
    yield field, right, f"expected 1 value{f', or {count}: one for each view' * (count > 1)} (count={count})"
  for field in ("flip", "jitter_p", "gray_p", "blur_p", "solarize_p", "affine"):
    values = getattr(view, field)
    right = all(0 <= p <= 1 for p in (values if isinstance(values, tuple) else [values]))
    yield field, right, "expected probabilities in 0..1"
  (smallest, largest), (flat, wide) = view.crop_scale, view.crop_ratio
  right = smallest == largest == 0 or 0 < smallest <= largest <= 1
  yield "crop_scale", right, "expected shares of the area in 0..1, the smaller one first; (0, 0) does not crop"
  yield "crop_ratio", 0 < flat <= wide, "expected positive ratios, the smaller one first"
  if image_hw and smallest:
    height, width = image_hw
    fits = max(flat, smallest * width / height) <= min(wide, width / height / smallest)
    yield "crop_scale", fits, f"no such share of a {height}x{width} image has a ratio within crop_ratio; lower the first"
  right = min(view.jitter) >= 0 and view.jitter[3] <= 0.5
  yield "jitter", right, "expected strengths of 0 or more, that of the hue (the last) at most 0.5"
  yield "blur_sigma", 0 <= view.blur_sigma[0] <= view.blur_sigma[1], "expected pixels, the smaller number first"
  yield "zoom", 0 < view.zoom[0] <= view.zoom[1], "expected positive factors, the smaller one first"
  limits = {"rotate": math.inf, "shear": math.pi / 2, "shift": math.inf, "elastic": math.inf, "thicken": 1.0}
  for field, limit in limits.items():
    yield field, 0 <= getattr(view, field) < limit, f"expected a number in 0..{limit:.3g}"


def _max_value(images: Array) -> int:
  return 65535 if images.dtype == jnp.uint16 else 255


def each(values: tuple[Any, ...], view: ViewConfig) -> tuple[Any, ...]:
  """Repeats a single value for each view."""
  return values * view.count if len(values) == 1 else values


def _runs(values: Sequence[Any]) -> Iterator[tuple[Any, slice]]:
  """Yields each run of equal values and its slice, so that equal views are computed together."""
  for value, positions in itertools.groupby(range(len(values)), values.__getitem__):
    first, *others = positions
    yield value, slice(first, first + 1 + len(others))
