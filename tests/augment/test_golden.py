"""Every operation and chain against the results of PIL and torchvision on the same images (tests/golden/augment.npz)."""

import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.augment import color, geometry
from jaxssl.augment import operations as ops
from jaxssl.augment.boxes import ATTEMPTS, box_of
from tests.golden_files import cases, split

pytestmark = pytest.mark.slow

IMAGES, BOXES = split("augment", r"img\d+", r"rrc\d+")
CASES = cases("augment")
OPS = ("brightness", "contrast", "saturation", "hue")
TURNED = [1, 0, 3, 2]  # a box of the transposed image


@pytest.fixture(params=IMAGES)
def case(request):
  return CASES[request.param]


def each(op, image, *values):
  """Applies the operation to one image with each of several values."""
  return np.asarray(jax.jit(jax.vmap(op, (None, *(0 for _ in values))))(jnp.asarray(image, jnp.float32), *values))


KEY = jax.random.key(0)  # of operations that do not draw
flip, gray, solarize = (functools.partial(operation(), KEY) for operation in (ops.Flip, ops.Grayscale, ops.Solarize))


def float32(values):
  return jnp.asarray(values, jnp.float32)


def pillow13_turns(box, size):
  """Returns whether the height shrinks by more than twice as many pixels as the width; Pillow 13 then resizes it first."""
  return box[2] > size and box[2] - size > 2 * (box[3] - size)


resize = jax.jit(geometry.crop_resize, static_argnums=(2, 3))


def crop(image, box, size, method, as_pillow13=False):
  if as_pillow13 and pillow13_turns(box, size):
    return crop(image.swapaxes(0, 1), box[TURNED], size, method).swapaxes(0, 1)
  return resize(float32(image), box, (size, size), method)


@pytest.mark.parametrize("method", ["bicubic", "bilinear"])
def test_crops_match_the_reference(case, method):
  size, boxes, expected = int(case["out_size"]), case["boxes"], case[f"crop_{method}"].astype(float)
  width_first = each(lambda image, box: crop(image, box, size, method), case["image"], boxes)
  as_pillow13 = np.stack([crop(case["image"], box, size, method, as_pillow13=True) for box in boxes])
  for ours in (width_first, as_pillow13):
    assert np.quantile(np.abs(ours - expected), 0.999) <= 1  # two if both passes rounded the other way
  assert np.mean(as_pillow13 != expected) < 0.03  # values halfway between two whole numbers


@pytest.mark.parametrize("op", OPS)
def test_color_operations_match_the_reference(case, op):
  def change(image, factor):
    return color.jitter(image, jnp.arange(4), [factor if name == op else None for name in OPS])

  np.testing.assert_array_equal(each(change, case["image"], float32(case[f"{op}_factors"])), case[op])


def test_gray_flip_and_solarize_match_the_reference(case):
  assert case["solarize_thresholds"][0] == 128
  for operation, expected in ((gray, case["gray"]), (flip, case["hflip"]), (solarize, case["solarize"][0])):
    np.testing.assert_array_equal(operation(float32(case["image"])), expected)


def test_jitter_matches_the_reference(case):
  places, factors = np.argsort(case["jitter_order"], axis=1), float32(case["jitter_factors"])
  ours = each(lambda image, at, factors: color.jitter(image, at, list(factors)), case["image"], places, factors)
  np.testing.assert_array_equal(ours, case["jitter"])


def test_blur_matches_the_reference(case):
  max_sigma = float(case["blur_sigmas"].max())
  ours = each(lambda image, sigma: color.blur(image, sigma, max_sigma), case["image"], float32(case["blur_sigmas"]))
  assert np.abs(ours - case["blur"]).max() <= 1
  assert np.mean(ours != case["blur"]) < 1e-3


def test_normalize_matches_the_reference(case):
  ours = color.normalize(float32(case["image"]), case["mean"].tolist(), case["std"].tolist())
  np.testing.assert_allclose(ours.transpose(2, 0, 1), case["normalize"], atol=2e-6)


def test_chains_match_the_reference(case):
  size, box, sigmas = int(case["out_size"]), case["chain_box"], float32(case["chain_sigmas"])
  places, factors = jnp.argsort(case["jitter_order"][0]), float32(case["jitter_factors"][0])
  jitter = jax.jit(lambda image: color.jitter(image, places, list(factors)))
  cubic, linear = (crop(case["image"], box, size, method, as_pillow13=True) for method in ("bicubic", "bilinear"))
  chains = {
    "chain_dino": solarize(color.blur(jitter(flip(cubic)), sigmas[0], 2.0)),
    "chain_resa": flip(solarize(jitter(cubic))),
    "chain_isd": flip(color.blur(gray(jitter(linear)), sigmas[1], 2.0)),
    "chain_weak": linear,
  }
  assert set(chains) == {name for name in case if name.startswith("chain_")} - {"chain_box", "chain_sigmas"}
  for name, ours in chains.items():
    ours = color.normalize(ours, case["mean"].tolist(), case["std"].tolist()).transpose(2, 0, 1)
    levels = np.abs(np.asarray(ours) - case[name]) * 255 * case["std"][:, None, None]
    # One level, except if jitter magnifies a tie in the crop.
    assert np.quantile(levels, 0.97) < 1.01 and levels.max() < 10, name


@pytest.mark.parametrize("method", ["bicubic", "bilinear"])
def test_evaluation_view_matches_the_reference(method):
  evaluated = [case for case in map(CASES.get, IMAGES) if f"eval_{method}" in case]
  assert evaluated
  for case in evaluated:
    height, width = case["image"].shape[:2]
    shape = (36 * height // min(height, width), 36 * width // min(height, width))
    top, left = (round((side - 32) / 2) for side in shape)
    resized = geometry.crop_resize(float32(case["image"]), (0, 0, height, width), shape, method)
    ours = resized[top : top + 32, left : left + 32]
    assert np.abs(ours - case[f"eval_{method}"].astype(float)).max() <= 1


@pytest.mark.parametrize("name", BOXES)
def test_both_implementations_draw_the_boxes_of_torchvision(name):
  case = CASES[name]
  height, width = case["hw"].tolist()
  shape, seed = (height, width, tuple(case["scale"].tolist()), tuple(case["ratio"].tolist())), zlib.crc32(name.encode())
  in_jax = jax.jit(lambda key: geometry.random_boxes(key, 100_000, *shape))(jax.random.key(0))
  rng = np.random.default_rng(seed)
  in_numpy = [box_of(draws, *shape) for draws in rng.random((10_000, ATTEMPTS, 4))]
  drawn = [np.asarray(boxes, float) for boxes in (case["params"], in_jax, in_numpy)]
  for boxes in drawn:
    assert (boxes[:, :2] >= 0).all() and (boxes[:, :2] + boxes[:, 2:] <= (height, width)).all()
  for statistic in (area, log_ratio, lambda b: position(b, 0, height), lambda b: position(b, 1, width)):
    # Integers tie: small noise on both sides makes the distributions continuous.
    expected, *ours = (statistic(boxes) + rng.uniform(-0.01, 0.01, len(boxes)) for boxes in drawn)
    for a, b in ((ours[0], expected), (ours[1], expected), (ours[0], ours[1])):
      limit = 2.2 * np.sqrt(1 / len(a) + 1 / len(b))  # exceeded with probability 2 exp(-2 x 2.2^2) = 0.0001
      assert kolmogorov_smirnov(a, b) < limit


def area(boxes):
  return boxes[:, 2] * boxes[:, 3]


def log_ratio(boxes):
  return np.log(boxes[:, 3] / boxes[:, 2])


def position(boxes, axis, side):
  """Returns the position of the box between the two edges, 0..1."""
  return (boxes[:, axis] + 0.5) / (side - boxes[:, 2 + axis] + 1)


def kolmogorov_smirnov(a, b):
  """Returns the largest difference between the two empirical distribution functions."""
  at = np.concatenate([a, b])
  return np.abs(np.searchsorted(np.sort(a), at, "right") / len(a) - np.searchsorted(np.sort(b), at, "right") / len(b)).max()


def test_every_golden_array_is_read():
  read = {"image", "boxes", "out_size", "crop_bicubic", "crop_bilinear", "hflip", "gray", "blur", "blur_sigmas", "solarize"}
  read |= {"solarize_thresholds", "jitter", "jitter_order", "jitter_factors", "normalize", "mean", "std"}
  read |= {"chain_box", "chain_sigmas", "chain_dino", "chain_resa", "chain_isd", "chain_weak", "eval_bicubic", "eval_bilinear"}
  read |= {name for op in OPS for name in (op, f"{op}_factors")} | {"hw", "scale", "ratio", "params"}
  assert {name for case in CASES.values() for name in case} <= read
