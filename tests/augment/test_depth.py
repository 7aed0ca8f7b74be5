"""Views of 16-bit images and of images without three channels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.augment import color, pipeline
from jaxssl.augment.operations import Grayscale
from jaxssl.config.schema import ViewConfig

COLORS = {"jitter": (0.4, 0.4, 0.4, 0.1), "jitter_p": 1.0, "gray_p": 0.5, "solarize_p": (0.5,)}
STRONG = ViewConfig(count=2, size=16, blur_p=(1.0, 0.0), blur_sigma=(0.5, 1.0), **COLORS)


def images(channels, maximum, rows=4):
  return np.random.default_rng(0).integers(0, maximum + 1, (rows, 2, 24, 24, channels))


@pytest.mark.parametrize("channels", [3, 5])
def test_views_of_sixteen_bits_agree_with_views_of_eight_bits(channels):
  key, data = jax.random.key(0), images(channels, 255)
  views = {}
  crop = jax.jit(lambda x: pipeline.crop(key, x, {"global": STRONG}))
  finish = jax.jit(lambda crops: pipeline.finish(key, crops, {"global": STRONG}, (0.0,), (1.0,)))
  for kind, scale in ((np.uint8, 1), (np.uint16, 257)):
    crops = crop(jnp.asarray((data * scale).astype(kind)))
    assert crops["global"].dtype == kind and crops["global"].shape == (4, 2, 16, 16, channels)
    views[kind] = np.asarray(finish(crops)["global"])
  levels = np.abs(views[np.uint8] - views[np.uint16]) * 255
  # Rounding, hue and the threshold of solarize differ in places; most values differ by a level or two.
  assert np.quantile(levels, 0.8) < 4 and views[np.uint16].min() >= 0 and views[np.uint16].max() <= 1
  assert (np.abs(views[np.uint16] * 255 - np.rint(views[np.uint16] * 255)) > 0.01).mean() > 0.5  # the lower bits are used
  show = jax.jit(lambda x: pipeline.show(x, 12, 0, (0.5,), (0.5,)))
  shown = [show(jnp.asarray((data[:, 0] * s).astype(k))) for k, s in ((np.uint8, 1), (np.uint16, 257))]
  np.testing.assert_allclose(*shown, atol=2.1 * 2 / 255)


@pytest.mark.parametrize("channels", [1, 5])
def test_color_operations_leave_images_without_three_channels_unchanged(channels):
  image = jnp.asarray(images(channels, 65535)[0, 0], jnp.float32)
  for changed in (Grayscale()(jax.random.key(0), image), color.hue(image, 0.3)):
    np.testing.assert_array_equal(changed, image)
  jittered = color.jitter(image, jnp.arange(4.0), (None, None, 0.3, 0.3), 65535)
  np.testing.assert_array_equal(jittered, image)


def test_contrast_uses_the_mean_of_each_channel():
  image = jnp.asarray(images(5, 65535)[0, 0], jnp.float32)
  whole, *parts = (color.jitter(x, jnp.arange(4), (None, 0.5, None, None), 65535) for x in (image, *jnp.split(image, 5, -1)))
  np.testing.assert_array_equal(whole, np.concatenate(parts, axis=-1))


@pytest.mark.parametrize("maximum", [255, 65535])
def test_blur_preserves_a_constant_image(maximum):
  flat = jnp.full((9, 9, 2), float(maximum))
  assert (np.asarray(color.blur(flat, 0.0, 2.0, maximum)) == maximum).all()
  blurred = np.asarray(color.blur(flat, 1.7, 2.0, maximum))
  assert (np.abs(blurred - maximum) <= maximum * 3e-4).all()


def test_of_colors_lists_the_operations_that_require_color():
  assert pipeline.of_colors({"global": STRONG}) == ["saturation", "hue", "gray"]
  assert pipeline.of_colors({"global": ViewConfig(jitter=(0.4, 0.4, 0.4, 0.1), jitter_p=0.0)}) == []
