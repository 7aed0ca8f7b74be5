"""What the golden pictures do not show: all colours, affine maps, edges, one channel."""

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from jaxssl.views import color, image

crop_resize = jax.jit(image.crop_resize, static_argnums=(2, 3))
resize = jax.jit(image.resize, static_argnums=(1, 2))
jitter = jax.jit(color.jitter)


@pytest.fixture
def picture():
  """Smooth enough to be interpolated, uneven enough to show a pixel that went astray."""
  y, x = np.mgrid[:24, :30]
  return np.stack([127 + 120 * np.sin(x / 3 + y / 5), 8 * x, 10 * y], axis=-1).astype(np.uint8).astype(np.float32)


@pytest.mark.parametrize("turn", [0.0, -0.5, -0.1, 0.07, 0.5])
def test_hue_of_every_fifth_color(turn):
  level = np.arange(0, 256, 5, dtype=np.uint8)
  colors = np.stack(np.meshgrid(level, level, level), axis=-1).reshape(len(level), -1, 3)
  hue, saturation, value = PIL.Image.fromarray(colors).convert("HSV").split()
  turned = PIL.Image.fromarray(np.asarray(hue) + np.uint8(int(turn * 255) % 256))
  expected = PIL.Image.merge("HSV", (turned, saturation, value)).convert("RGB")
  np.testing.assert_array_equal(jax.jit(color.hue)(colors.astype(np.float32), turn), expected)


@pytest.mark.parametrize(
  "rotate, shear, zoom, shift", [(0.0, 0.0, 1.0, (0.0, 0.0)), (0.3, 0.0, 1.0, (0.0, 0.0)), (-0.2, 0.25, 0.7, (2.5, -1.5))]
)
def test_affine_is_pils(picture, rotate, shear, zoom, shift):
  height, width, _ = picture.shape
  center = np.array([width / 2, height / 2])
  turn = np.array([[np.cos(rotate), -np.sin(rotate)], [np.sin(rotate), np.cos(rotate)]])
  back = np.linalg.inv(zoom * turn @ np.array([[1, -np.tan(shear)], [0, 1]]))  # PIL asks where an output pixel comes from
  rows = np.column_stack([back, center - back @ (center + shift)])
  source = PIL.Image.fromarray(picture.astype(np.uint8))
  expected = source.transform((width, height), PIL.Image.Transform.AFFINE, rows.ravel().tolist(), PIL.Image.Resampling.BILINEAR)
  ours = jax.jit(image.affine)(picture, rotate, shear, zoom, jnp.array(shift))
  assert np.abs(np.asarray(ours) - np.asarray(expected, float)).max() <= 1


def test_affine_shows_black_where_nothing_was():
  ours = jax.jit(image.affine)(jnp.full((8, 8, 1), 200.0), *(jnp.float32(v) for v in (0, 0, 1)), jnp.array([3.0, 0.0]))
  np.testing.assert_array_equal(ours[:, :3], 0)
  np.testing.assert_array_equal(ours[:, 3:], 200)


def test_a_crop_sees_nothing_outside_of_its_box(picture):
  box, inside = (5, 6, 11, 9), picture[5:16, 6:15]
  outside = np.zeros_like(picture)
  outside[5:16, 6:15] = inside
  for how in ("bilinear", "bicubic"):
    ours = crop_resize(picture, box, (16, 16), how)
    np.testing.assert_array_equal(ours, crop_resize(outside, box, (16, 16), how))
    np.testing.assert_array_equal(ours, resize(inside, (16, 16), how))


def test_resize_is_pils(picture):
  for how, mode in (("bilinear", PIL.Image.Resampling.BILINEAR), ("bicubic", PIL.Image.Resampling.BICUBIC)):
    for height, width in ((24, 30), (10, 50)):
      expected = PIL.Image.fromarray(picture.astype(np.uint8)).resize((width, height), mode)
      ours = resize(picture, (height, width), how)
      assert ours.shape == (height, width, 3)
      assert np.abs(np.asarray(ours) - np.asarray(expected, float)).max() <= 1


def test_what_changes_nothing(picture):
  factors = [1.0, 1.0, 1.0, None]
  np.testing.assert_array_equal(jitter(picture, jnp.arange(4), factors), picture)
  np.testing.assert_array_equal(jitter(picture, jnp.arange(4), [None] * 4), picture)
  np.testing.assert_array_equal(jitter(picture, jnp.arange(4), [0.5, 0.5, 0.5, 0.5], False), picture)
  np.testing.assert_array_equal(image.blur(picture, 0.0, 2.0), picture)
  np.testing.assert_array_equal(color.solarize(picture, 256), picture)
  np.testing.assert_array_equal(image.flip(image.flip(picture)), picture)


@pytest.mark.parametrize("left_out", range(4))
def test_jitter_without_one_op_is_the_others_in_turn(picture, left_out):
  values = [0.7, 1.3, 0.6, 0.1]
  ops = [color.brightness, color.contrast, color.saturation, color.hue]
  places = jnp.array([0.9, 0.2, 0.4, 0.3])
  expected = picture
  for i in (1, 3, 2, 0):
    expected = expected if i == left_out else ops[i](expected, values[i])
  factors = [None if i == left_out else value for i, value in enumerate(values)]
  np.testing.assert_array_equal(jitter(jnp.asarray(picture), places, factors), expected)


def test_one_channel(picture):
  grey = picture[:, :, :1]
  for op in (lambda x: color.hue(x, 0.2), lambda x: color.saturation(x, 0.3), color.gray):
    np.testing.assert_array_equal(op(grey), grey)
  # Brightness and contrast of a grey picture are those of the same picture in three equal channels.
  places, factors = jnp.arange(4), [0.7, 1.4, 0.5, 0.1]
  colored = jitter(jnp.tile(grey, 3), places, [*factors[:2], None, None])
  np.testing.assert_array_equal(jitter(jnp.asarray(grey), places, factors), colored[:, :, :1])


def test_thicken_moves_towards_the_neighborhood():
  picture = np.zeros((5, 5, 1), np.float32)
  picture[2, 2] = 200
  thick, thin = image.thicken(jnp.asarray(picture), jnp.float32(0.5)), image.thicken(jnp.asarray(picture), jnp.float32(-0.5))
  np.testing.assert_array_equal(thick[1:4, 1:4, 0], np.where(picture[1:4, 1:4, 0] > 0, 200, 100))
  np.testing.assert_array_equal(thin[..., 0], picture[..., 0] / 2)
  assert float(thick.sum()) == 200 + 8 * 100


def test_a_bend_displaces_what_it_says():
  picture = jnp.asarray(np.random.default_rng(0).integers(0, 256, (12, 12, 1)), jnp.float32)
  none = (jnp.float32(0), jnp.float32(0), jnp.float32(1), jnp.zeros(2))
  bend = jnp.zeros((4, 4, 2)).at[..., 0].set(2.0)
  np.testing.assert_allclose(image.affine(picture, *none, bend)[:, :10], picture[:, 2:], atol=1)
  np.testing.assert_array_equal(image.affine(picture, *none), picture)
