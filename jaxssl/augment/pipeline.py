"""Random sets of views, made under jit. Every draw follows from (key, group, row, view) alone.

Two stages, because images that live on the host are cut there: `crop` picks and cuts, `finish` does all the rest.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxssl.augment import color, geometry
from jaxssl.augment.geometry import sample_boxes
from jaxssl.config.schema import ViewConfig
from jaxssl.core.errors import UserError, nearest_name
from jaxssl.core.types import Array

GROUPS = ("global", "local", "weak", "strong")
_DRAWS = 21  # random numbers that finishing a view takes at most
_BEND = 4 * 4 * 2  # and more, for an elastic one


def crop(key: Array, images: Array, views: Mapping[str, ViewConfig]) -> dict[str, Array]:
  """Cuts all views: images [b, 2, h, w, c], each row its own and its partner's, -> group -> the same type [b, v, s, s, c]."""
  return {name: _crop_group(jax.random.fold_in(key, GROUPS.index(name)), images, view) for name, view in views.items()}


def finish(
  key: Array, crops: Mapping[str, Array], views: Mapping[str, ViewConfig], mean: Sequence[float], std: Sequence[float]
) -> dict[str, Array]:
  """Does the rest, in this order: affine map, flip, jitter, gray, blur, solarizing, normalizing.

  `crops`: uint8, uint16, or float of whole numbers up to 255, [b, v, s, s, c] by group; the result is float32 of the same
  shapes. What has probability or strength 0 is not computed.
  """
  return {
    name: _finish_group(jax.random.fold_in(key, GROUPS.index(name)), crops[name], view, mean, std)
    for name, view in views.items()
  }


def show(images: Array, size: int, resize: int, mean: Sequence[float], std: Sequence[float]) -> Array:
  """The one view that measurements see: uint8 or uint16 [b, h, w, c] -> float32 [b, size, size, c].

  `resize` 0: the whole image becomes `size` x `size`; else its shorter side becomes `resize`, and the middle is cut out.
  """
  most = _most(images)
  height, width = images.shape[1:3]
  shorter = min(height, width)
  shape = (resize * height // shorter, resize * width // shorter) if resize else (size, size)

  def one(image: Array) -> Array:
    image = geometry.resize(image.astype(jnp.float32), shape, "bicubic", most)
    return color.normalize(geometry.center_crop(image, size), mean, std, most)

  return jax.vmap(one)(images)


def check(views: Mapping[str, ViewConfig], image_hw: tuple[int, int] | None) -> None:
  """Raises UserError for views that cannot be made; `image_hw`: the images' height and width, where all have the same."""
  for name, view in views.items():
    if name not in GROUPS:
      raise UserError(
        f"views.{name} is no view group; nearest: {nearest_name(name, list(GROUPS))}; allowed: {', '.join(GROUPS)}"
      )
    for field, right, rule in _rules(view, image_hw):
      if not right:
        raise UserError(f"views.{name}.{field}={getattr(view, field)!r} is not allowed: {rule}")


def of_colors(views: Mapping[str, ViewConfig]) -> list[str]:
  """Names the changes of color that views ask for, and that only images of red, green and blue have."""
  strengths = [(*(s * view.jitter_p for s in view.jitter[2:]), view.gray_p) for view in views.values()]
  names = ("saturation", "hue", "gray")
  return [name for name, strength in zip(names, zip(*strengths, strict=True), strict=True) if any(strength)]


def _rules(view: ViewConfig, image_hw: tuple[int, int] | None) -> Iterator[tuple[str, bool, str]]:
  """(field, whether it is right, what it must be), one at a time: a rule may rely on those before it."""
  yield "count", view.count >= 1, "a group has at least 1 view"
  yield "size", view.size >= 1, "a view is at least 1 pixel wide"
  for field in ("partner", "blur_p", "solarize_p"):
    yield field, len(getattr(view, field)) in (1, view.count), f"it takes 1 value, or {view.count}: one for each view"
  for field in ("flip", "jitter_p", "gray_p", "blur_p", "solarize_p", "affine"):
    values = getattr(view, field)
    yield field, all(0 <= p <= 1 for p in (values if isinstance(values, tuple) else [values])), "probabilities lie in 0..1"
  (least, most), (flat, wide) = view.crop_scale, view.crop_ratio
  yield "crop_scale", least == most == 0 or 0 < least <= most <= 1, "shares of the area rise within 0..1; (0, 0) cuts nothing"
  yield "crop_ratio", 0 < flat <= wide, "ratios are positive, the smaller one first"
  if image_hw and least:
    height, width = image_hw
    fits = max(flat, least * width / height) <= min(wide, width / height / least)
    yield "crop_scale", fits, f"no such share of a {height}x{width} image has a ratio within crop_ratio; lower the first"
  yield "jitter", min(view.jitter) >= 0 and view.jitter[3] <= 0.5, "strengths are 0 or more, that of hue (the last) at most 0.5"
  yield "blur_sigma", 0 <= view.blur_sigma[0] <= view.blur_sigma[1], "pixels, the smaller one first"
  yield "zoom", 0 < view.zoom[0] <= view.zoom[1], "factors are positive, the smaller one first"
  limits = {"rotate": math.inf, "shear": math.pi / 2, "shift": math.inf, "elastic": math.inf, "thicken": 1.0}
  for field, limit in limits.items():
    yield field, 0 <= getattr(view, field) < limit, f"it lies in 0..{limit:.3g}"


def _crop_group(key: Array, images: Array, view: ViewConfig) -> Array:
  size, most, kind = (view.size, view.size), _most(images), images.dtype

  def cut(row: Array, pair: Array) -> Array:
    """The views of one row."""
    pair = pair.astype(jnp.float32)
    if view.crop_scale == (0, 0):
      whole = [geometry.resize(pair[int(partner)], size, view.interpolation, most) for partner in each(view.partner, view)]
      return jnp.stack(whole).astype(kind)
    height, width = pair.shape[1:3]
    boxes = sample_boxes(jax.random.fold_in(key, row), view.count, height, width, view.crop_scale, view.crop_ratio)
    cuts = [
      jax.vmap(lambda box, of=pair[int(partner)]: geometry.crop_resize(of, box, size, view.interpolation, most))(boxes[run])
      for partner, run in _runs(each(view.partner, view))
    ]
    return jnp.concatenate(cuts).astype(kind)

  return jax.vmap(cut)(jnp.arange(images.shape[0]), images)


def _finish_group(key: Array, crops: Array, view: ViewConfig, mean: Sequence[float], std: Sequence[float]) -> Array:
  rows, most = jnp.arange(crops.shape[0]), _most(crops)
  numbers = (view.count, _DRAWS + _BEND * (view.elastic > 0))
  draws = jax.vmap(lambda row: jax.random.uniform(jax.random.fold_in(key, row), numbers))(rows)
  done = []
  for (blur, solarize), run in _runs(zip(each(view.blur_p, view), each(view.solarize_p, view), strict=True)):

    def one(draws: Array, image: Array, blur: float = blur, solarize: float = solarize) -> Array:
      return color.normalize(_finish_one(draws, image, view, blur, solarize, most), mean, std, most)

    done.append(jax.vmap(jax.vmap(one))(draws[:, run], crops[:, run]))
  return jnp.concatenate(done, axis=1)


def _finish_one(draws: Array, image: Array, view: ViewConfig, blur: float, solarize: float, most: int) -> Array:
  """All of `finish` but normalizing, for one view. `draws`: as many numbers as may be needed, uniform in 0..1."""
  chance, warp, strength, place, sigma, thickness, bend = jnp.split(draws, (6, 11, 15, 19, 20, 21))
  image = image.astype(jnp.float32)
  if view.affine:
    rotate, shear = (_between(-most, most, draw) for most, draw in zip((view.rotate, view.shear), warp[:2], strict=True))
    shift = _between(-view.shift, view.shift, warp[3:])
    bent = view.elastic * jax.scipy.special.ndtri(bend.reshape(4, 4, 2)) if view.elastic else 0.0
    warped = geometry.affine(image, rotate, shear, _between(*view.zoom, warp[2]), shift, bent)
    image = jnp.where(chance[0] < view.affine, warped, image)
  if view.thicken:
    image = geometry.thicken(image, _between(-view.thicken, view.thicken, thickness[0]))
  if view.flip:
    image = jnp.where(chance[1] < view.flip, geometry.flip(image), image)
  if view.jitter_p and any(view.jitter):
    ranges = [*((max(0.0, 1 - s), 1 + s) for s in view.jitter[:3]), (-view.jitter[3], view.jitter[3])]
    factors = [_between(*ranges[i], strength[i]) if view.jitter[i] else None for i in range(4)]
    image = color.jitter(image, place, factors, chance[2] < view.jitter_p, most)
  if view.gray_p:
    image = jnp.where(chance[3] < view.gray_p, color.gray(image), image)
  if blur:
    sigma = jnp.where(chance[4] < blur, _between(*view.blur_sigma, sigma[0]), 0.0)
    image = geometry.blur(image, sigma, view.blur_sigma[1], most)
  if solarize:
    image = color.solarize(image, jnp.where(chance[5] < solarize, (most + 1) // 2, most + 1), most)
  return image


def _most(images: Array) -> int:
  """The brightest value."""
  return 65535 if images.dtype == jnp.uint16 else 255


def _between(low: float, high: float, share: Array) -> Array:
  return low + (high - low) * share


def each(values: tuple[Any, ...], view: ViewConfig) -> tuple[Any, ...]:
  """One value a view."""
  return values * view.count if len(values) == 1 else values


def _runs(values: Iterable[Any]) -> Iterator[tuple[Any, slice]]:
  """Each run of equal values, and where it lies: such views are made together."""
  start = 0
  for value, run in itertools.groupby(values):
    end = start + sum(1 for _ in run)
    yield value, slice(start, end)
    start = end
