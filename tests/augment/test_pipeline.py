"""Random views: their randomness, probabilities, and the errors of invalid configs."""

import ast
import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding

from jaxssl.augment import color, pipeline, presets
from jaxssl.config import parse
from jaxssl.config.schema import ViewConfig
from jaxssl.core import UserError
from jaxssl.parallel.mesh import ROWS, make_mesh

pytestmark = pytest.mark.slow

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
PLAIN = ViewConfig(count=2, size=16, crop_scale=(0.0, 0.0), flip=0.0)
PRESETS = {
  "adasim": presets.adasim(16),
  "dino": presets.dino(16, 8, 3),
  "weak and strong": {**presets.weak(16), **presets.strong(16)},
  "strong, large": presets.strong(65),
  "digits": presets.digits(16),
  "symmetric": presets.symmetric(16),
  "asymmetric, large": presets.asymmetric(65),
  "weak teacher, strong student": presets.pair("strong", "weak", 16),
  "both weak": presets.pair("weak", "weak", 16),
  "resa": presets.resa(16, 2),
}


def read(preset):
  return {name: parse.read(ViewConfig, group) for name, group in preset.items()}


def images(rows, side=20, channels=3, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (rows, 2, side, side, channels), dtype=np.uint8)


def make(key, pixels, views, channels=3):
  crop_key, finish_key = jax.random.split(key)
  return pipeline.finish(finish_key, pipeline.crop(crop_key, pixels, views), views, MEAN[:channels], STD[:channels])


@functools.cache
def maker(name, group=None, channels=3):
  """Compiles `make` for a preset, or for one of its groups."""
  views = {key: view for key, view in read(PRESETS[name]).items() if group in (None, key)}
  return jax.jit(lambda key, pixels: make(jax.random.key(key), pixels, views, channels))


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("channels", [1, 3])
def test_views_have_the_configured_shapes_and_are_float32(name, channels):
  views = read(PRESETS[name])
  pipeline.check(views, (20, 20))
  ours = jax.eval_shape(lambda pixels: make(jax.random.key(0), pixels, views, channels), images(4, channels=channels))
  assert {group: (x.shape, x.dtype) for group, x in ours.items()} == {
    group: ((4, view.count, view.size, view.size, channels), jnp.float32) for group, view in views.items()
  }


@pytest.mark.parametrize("name, channels", [("adasim", 1), ("digits", 1), ("weak and strong", 3)])
def test_views_of_the_same_image_are_finite_and_all_different(name, channels):
  same = np.tile(images(1, channels=channels), (8, 1, 1, 1, 1))
  for views in maker(name, channels=channels)(0, same).values():
    assert np.isfinite(views).all()
    views = np.asarray(views).reshape(-1, *views.shape[2:])
    assert len(np.unique(views, axis=0)) == len(views)


def test_views_are_a_function_of_the_key_and_the_row_alone():
  make, pixels = maker("weak and strong"), images(8)
  first, again, other = (make(key, pixels)["strong"] for key in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert np.all(np.any(first != other, axis=(2, 3, 4)))
  changed = make(0, np.concatenate([pixels[:2], images(6, seed=1)]))["strong"]
  np.testing.assert_array_equal(first[:2], changed[:2])
  assert np.all(np.any(first[2:] != changed[2:], axis=(1, 2, 3, 4)))
  without_other_rows_and_groups = maker("weak and strong", "strong")(0, pixels[:2])["strong"]
  np.testing.assert_array_equal(first[:2], without_other_rows_and_groups)


@pytest.mark.skipif(jax.device_count() < 8, reason="needs eight devices")
def test_eight_devices_make_the_same_views_as_one():
  spread, pixels = NamedSharding(make_mesh(), ROWS), images(8)
  expected = maker("weak and strong")(0, pixels)["strong"]
  ours = jax.jit(maker("weak and strong"), out_shardings=spread)(0, jax.device_put(pixels, spread))["strong"]
  assert {shard.data.shape[0] for shard in ours.addressable_shards} == {1}
  np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_partner_selects_the_image():
  pixels = np.stack([np.full((3, 20, 20, 3), 10, np.uint8), np.full((3, 20, 20, 3), 200, np.uint8)], axis=1)
  for partner in [(False, True, True), (True,)]:
    for scale in [(0.3, 1.0), (0.0, 0.0)]:
      view = dataclasses.replace(PLAIN, count=3, partner=partner, crop_scale=scale)
      crops = jax.jit(lambda pixels, view=view: pipeline.crop(jax.random.key(0), pixels, {"weak": view}))(pixels)["weak"]
      for v in range(3):
        assert set(np.unique(crops[:, v])) == {200 if partner[v % len(partner)] else 10}


def finished(pixels, **fields):
  """Makes views of crops [b, v, s, s, 3], scaled back to 0..255."""
  view = dataclasses.replace(PLAIN, count=pixels.shape[1], size=pixels.shape[2], **fields)
  finish = jax.jit(
    lambda pixels: pipeline.finish(jax.random.key(0), {"weak": pixels}, {"weak": view}, (0.0,) * 3, (1 / 255,) * 3)
  )
  return np.asarray(finish(pixels)["weak"]).round(3)


def test_operations_of_probability_1_always_apply_and_of_probability_0_never():
  pixels = images(3)
  np.testing.assert_array_equal(finished(pixels), pixels)
  np.testing.assert_array_equal(finished(pixels, flip=1.0), pixels[:, :, :, ::-1])
  np.testing.assert_array_equal(finished(pixels, solarize_p=(1.0,)), np.where(pixels >= 128, 255 - pixels, pixels))
  np.testing.assert_array_equal(finished(pixels, gray_p=1.0), np.tile(color.luma(pixels.astype(np.float32)), 3))
  partly = finished(pixels, blur_p=(0.0, 1.0), solarize_p=(1.0, 0.0))
  np.testing.assert_array_equal(partly[:, 0], np.where(pixels >= 128, 255 - pixels, pixels)[:, 0])
  assert np.std(partly[:, 1]) < 0.8 * np.std(pixels[:, 1])


@pytest.mark.parametrize(
  "fields, expected",
  [
    ({}, ["", ""]),
    ({"jitter": (0.4, 0.4, 0.4, 0.1), "jitter_p": 0.0}, ["", ""]),
    ({"jitter": (0.0, 0.0, 0.0, 0.0), "jitter_p": 1.0}, ["", ""]),
    ({"flip": 0.5, "blur_p": (0.5, 0.0), "solarize_p": (0.0, 0.2)}, ["Flip GaussianBlur", "Flip Solarize"]),
    (
      {"affine": 1.0, "thicken": 0.4, "flip": 0.5, "jitter": (0.4, 0.0, 0.0, 0.0), "gray_p": 0.2, "blur_p": (1.0,)},
      ["Affine Thicken Flip ColorJitter Grayscale GaussianBlur"] * 2,
    ),
  ],
)
def test_operations_of_probability_0_and_strength_0_are_left_out(fields, expected):
  view = dataclasses.replace(PLAIN, **fields)
  steps = [pipeline.augmentations("weak", view, v) for v in range(2)]
  assert [" ".join(type(operation).__name__ for operation, _ in listed) for listed in steps] == expected


def test_views_with_equal_settings_are_computed_together():
  def loops(**fields):
    view = {"weak": dataclasses.replace(PLAIN, size=20, **fields)}
    program = jax.make_jaxpr(lambda key: pipeline.finish(key, {"weak": images(2)}, view, MEAN, STD))(jax.random.key(0))
    return str(program).count(" scan[")

  base = loops()
  assert loops(jitter=(0.4, 0.0, 0.0, 0.0)) == base + 1
  assert loops(blur_p=(0.5,)) == loops(blur_p=(0.5, 0.0)) == base + 2  # rows and columns
  assert loops(blur_p=(0.5, 0.4)) == base + 4


def test_probabilities_and_ranges_are_those_of_the_config():
  pixels = np.full((600, 1, 4, 4, 3), 100, np.uint8)
  pixels[:, :, :, 2:] = 0
  flipped = finished(pixels, flip=0.3)[:, 0, 0, 0, 0] == 0
  assert abs(flipped.mean() - 0.3) < 0.07  # 3.5 standard deviations
  bright = finished(pixels, jitter=(0.4, 0.0, 0.0, 0.0), jitter_p=0.8)[:, 0, 0, 0, 0]
  assert abs(np.mean(bright == 100) - 0.2) < 0.07
  assert 60 <= bright.min() < 65 and 135 < bright.max() <= 140
  dark = finished(pixels, jitter=(2.0, 0.0, 0.0, 0.0), jitter_p=1.0)[:, 0, 0, 0, 0]
  assert np.mean(dark == 0) < 0.05 and dark.max() > 250  # factors in 0..3, none negative
  sharp = np.all(finished(pixels, blur_p=(0.3,), blur_sigma=(1.0, 2.0)) == pixels, axis=(1, 2, 3, 4))
  assert abs(sharp.mean() - 0.7) < 0.07
  shifted = finished(pixels, affine=1.0, shift=1.5)
  assert np.mean(np.any(shifted != pixels, axis=(1, 2, 3, 4))) > 0.5
  np.testing.assert_array_equal(finished(pixels, affine=1.0), pixels)


def test_show_resizes_the_shorter_side_and_crops_the_center():
  pixels = images(2, side=28)[:, 0]
  show = jax.jit(pipeline.show, static_argnums=(1, 2, 3, 4))
  blank = (0.0,) * 3, (1 / 255,) * 3
  np.testing.assert_allclose(show(pixels, 28, 0, *blank), pixels, atol=1e-3)
  assert show(pixels[:, :20], 12, 0, MEAN, STD).shape == (2, 12, 12, 3)
  # 20 x 28 and 28 x 20: the shorter side needs no resize, so only the center is cropped.
  np.testing.assert_allclose(show(pixels[:, 4:24], 16, 20, *blank), pixels[:, 6:22, 6:22], atol=1e-3)
  np.testing.assert_allclose(show(pixels[:, :, 4:24], 16, 20, *blank), pixels[:, 6:22, 6:22], atol=1e-3)


@pytest.mark.parametrize(
  "fields, message",
  [
    ({"count": 0}, "views.weak.count=0: "),
    ({"size": 0}, "views.weak.size=0: "),
    ({"partner": (True, False, True)}, "views.weak.partner=(True, False, True): expected 1 value, or 2"),
    ({"count": 1}, "views.weak.partner=(False, True): expected 1 value (count=1)"),
    ({"blur_p": (0.1,) * 3}, "views.weak.blur_p=(0.1, 0.1, 0.1): "),
    ({"flip": 1.5}, "views.weak.flip=1.5: expected probabilities in 0..1"),
    ({"solarize_p": (0.0, -0.1)}, "views.weak.solarize_p=(0.0, -0.1): "),
    ({"crop_scale": (0.5, 0.2)}, "views.weak.crop_scale=(0.5, 0.2): "),
    ({"crop_scale": (0.0, 0.5)}, "views.weak.crop_scale=(0.0, 0.5): "),
    ({"crop_scale": (0.5, 1.5)}, "views.weak.crop_scale=(0.5, 1.5): "),
    ({"crop_scale": (0.9, 1.0), "crop_ratio": (3.0, 4.0)}, "views.weak.crop_scale=(0.9, 1.0): no such share of"),
    ({"crop_ratio": (0.0, 1.0)}, "views.weak.crop_ratio=(0.0, 1.0): "),
    ({"jitter": (0.4, 0.4, 0.4, 0.6)}, "views.weak.jitter=(0.4, 0.4, 0.4, 0.6): "),
    ({"blur_sigma": (2.0, 0.1)}, "views.weak.blur_sigma=(2.0, 0.1): "),
    ({"zoom": (0.0, 1.0)}, "views.weak.zoom=(0.0, 1.0): "),
    ({"shear": 1.6}, "views.weak.shear=1.6: expected a number in 0..1.57"),
    ({"shift": -1.0}, "views.weak.shift=-1.0: "),
  ],
)
def test_errors_name_the_field_and_the_value(fields, message):
  with pytest.raises(UserError) as error:
    pipeline.check({"weak": dataclasses.replace(ViewConfig(), **fields)}, (28, 28))
  assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_presets_import_nothing():
  tree = ast.parse(pathlib.Path(presets.__file__).read_text())
  assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
