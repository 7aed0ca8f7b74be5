"""Augmentations beyond the golden images: all colors, affine maps, edges, one channel, boxes, draws."""

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from jaxssl.augment import color, geometry
from jaxssl.augment import operations as ops
from jaxssl.augment.boxes import ATTEMPTS, box_of
from jaxssl.config.parse import read

crop_resize = jax.jit(geometry.crop_resize, static_argnums=(2, 3))
jitter = jax.jit(color.jitter)


@pytest.fixture
def image():
  """Returns an image that is smooth enough to interpolate and uneven enough to reveal a displaced pixel."""
  y, x = np.mgrid[:24, :30]
  return np.stack([127 + 120 * np.sin(x / 3 + y / 5), 8 * x, 10 * y], axis=-1).astype(np.uint8).astype(np.float32)


@pytest.mark.parametrize("turn", [0.0, -0.5, -0.1, 0.07, 0.5])
def test_hue_matches_pil_for_every_fifth_level(turn):
  level = np.arange(0, 256, 5, dtype=np.uint8)
  colors = np.stack(np.meshgrid(level, level, level), axis=-1).reshape(len(level), -1, 3)
  hue, saturation, value = PIL.Image.fromarray(colors).convert("HSV").split()
  turned = PIL.Image.fromarray(np.asarray(hue) + np.uint8(int(turn * 255) % 256))
  expected = PIL.Image.merge("HSV", (turned, saturation, value)).convert("RGB")
  np.testing.assert_array_equal(jax.jit(color.hue)(colors.astype(np.float32), turn), expected)


@pytest.mark.parametrize(
  "rotate, shear, zoom, shift", [(0.0, 0.0, 1.0, (0.0, 0.0)), (0.3, 0.0, 1.0, (0.0, 0.0)), (-0.2, 0.25, 0.7, (2.5, -1.5))]
)
def test_affine_matches_pil(image, rotate, shear, zoom, shift):
  height, width, _ = image.shape
  center = np.array([width / 2, height / 2])
  turn = np.array([[np.cos(rotate), -np.sin(rotate)], [np.sin(rotate), np.cos(rotate)]])
  back = np.linalg.inv(zoom * turn @ np.array([[1, -np.tan(shear)], [0, 1]]))  # PIL maps output pixels to input pixels
  rows = np.column_stack([back, center - back @ (center + shift)])
  source = PIL.Image.fromarray(image.astype(np.uint8))
  expected = source.transform((width, height), PIL.Image.Transform.AFFINE, rows.ravel().tolist(), PIL.Image.Resampling.BILINEAR)
  ours = jax.jit(geometry.affine)(image, rotate, shear, zoom, jnp.array(shift))
  assert np.abs(np.asarray(ours) - np.asarray(expected, float)).max() <= 1


def test_a_crop_ignores_pixels_outside_its_box(image):
  box, inside = (5, 6, 11, 9), image[5:16, 6:15]
  outside = np.zeros_like(image)
  outside[5:16, 6:15] = inside
  for method in ("bilinear", "bicubic"):
    ours = crop_resize(image, box, (16, 16), method)
    np.testing.assert_array_equal(ours, crop_resize(outside, box, (16, 16), method))
    np.testing.assert_array_equal(ours, crop_resize(inside, (0, 0, *inside.shape[:2]), (16, 16), method))


def test_neutral_parameters_change_nothing(image):
  for factors in ([1.0, 1.0, 1.0, None], [None] * 4):
    np.testing.assert_array_equal(jitter(image, jnp.arange(4), factors), image)
  np.testing.assert_array_equal(color.blur(image, 0.0, 2.0), image)


@pytest.mark.parametrize("left_out", range(4))
def test_jitter_applies_its_operations_in_order(image, left_out):
  values = [0.7, 1.3, 0.6, 0.1]
  places = jnp.array([0.9, 0.2, 0.4, 0.3])
  expected = image
  for i in (1, 3, 2, 0):
    if i != left_out:
      expected = jitter(jnp.asarray(expected), places, [value if i == k else None for k, value in enumerate(values)])
  factors = [None if i == left_out else value for i, value in enumerate(values)]
  np.testing.assert_array_equal(jitter(jnp.asarray(image), places, factors), expected)


def test_color_operations_treat_one_channel_as_three_equal_channels(image):
  gray = image[:, :, :1]
  # Brightness and contrast of a gray image equal those of three equal channels.
  places, factors = jnp.arange(4), [0.7, 1.4, 0.5, 0.1]
  colored = jitter(jnp.tile(gray, 3), places, [*factors[:2], None, None])
  np.testing.assert_array_equal(jitter(jnp.asarray(gray), places, factors), colored[:, :, :1])


def test_thicken_moves_toward_the_neighborhood():
  image = np.zeros((5, 5, 1), np.float32)
  image[2, 2] = 200
  thick, thin = (color.thicken(jnp.asarray(image), jnp.float32(share)) for share in (0.5, -0.5))
  np.testing.assert_array_equal(thick[1:4, 1:4, 0], np.where(image[1:4, 1:4, 0] > 0, 200, 100))
  np.testing.assert_array_equal(thin[..., 0], image[..., 0] / 2)
  assert float(thick.sum()) == 200 + 8 * 100


def test_a_bend_displaces_pixels():
  image = jnp.asarray(np.random.default_rng(0).integers(0, 256, (12, 12, 1)), jnp.float32)
  identity = (jnp.float32(0), jnp.float32(0), jnp.float32(1), jnp.zeros(2))
  bend = jnp.zeros((4, 4, 2)).at[..., 0].set(2.0)
  np.testing.assert_allclose(geometry.affine(image, *identity, bend)[:, :10], image[:, 2:], atol=1)
  np.testing.assert_array_equal(geometry.affine(image, *identity), image)


SQUEEZED = (4.0, 5.0)  # shares of the area that do not fit into any image


@pytest.mark.parametrize(
  "height, width, scale, ratio, expected",
  [
    (7, 9, (0.0, 0.0), (1.0, 1.0), (0, 0, 7, 9)),
    (10, 100, SQUEEZED, (3 / 4, 4 / 3), (0, 43, 10, 13)),
    (100, 10, SQUEEZED, (3 / 4, 4 / 3), (43, 0, 13, 10)),
    (30, 30, SQUEEZED, (3 / 4, 4 / 3), (0, 0, 30, 30)),
    (100, 1, SQUEEZED, (3.0, 4.0), (49, 0, 1, 1)),
  ],
)
def test_boxes_without_a_choice_are_deterministic(height, width, scale, ratio, expected):
  assert box_of(np.random.default_rng(0).random((ATTEMPTS, 4)), height, width, scale, ratio) == expected
  np.testing.assert_array_equal(geometry.random_boxes(jax.random.key(0), 2, height, width, scale, ratio), [expected] * 2)


PARAMETERS = {
  "affine": {"rotate": 0.3, "elastic": 1.0},
  "thicken": {"strength": 0.5},
  "color_jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
}


@pytest.mark.parametrize("name", ["affine", "thicken", "flip", "color_jitter", "grayscale", "gaussian_blur", "solarize"])
def test_registered_operations_are_functions_of_their_key(name, image):
  operation = read(ops.OPERATIONS[name], PARAMETERS.get(name, {}))
  once, again, other = (np.asarray(jax.jit(operation)(jax.random.key(seed), image)) for seed in (0, 0, 1))
  assert once.shape == image.shape and once.dtype == np.float32 and (once != image).any()
  np.testing.assert_array_equal(once, again)
  assert (once != other).any() == (name not in ("flip", "grayscale", "solarize"))
  assert operation.geometric == (name in ("affine", "flip"))
