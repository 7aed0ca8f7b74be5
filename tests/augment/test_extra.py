"""Operations named in `views.GROUP.extra`: the documented example, probabilities, geometry-only views, positions, errors."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.augment import operations, pipeline
from jaxssl.augment.operations import Operation
from jaxssl.config.parse import read
from jaxssl.config.schema import Config, DataConfig, ViewConfig
from jaxssl.core import UserError
from jaxssl.evals import crops as random_crops
from jaxssl.evals.preprocessing import Preprocessing
from tests import flags
from tests.extending_page import example

PLAIN = ViewConfig(count=2, size=6, partner=(False,), crop_scale=(0.0, 0.0), flip=0.0)
GRAY = np.full((4, 2, 6, 6, 3), 100, np.uint8)


class Dim(Operation):
  """Multiplies all values by one random factor."""

  least: float = 0.5

  def __call__(self, key, image):
    return image * jax.random.uniform(key, minval=self.least)


class Top(Operation):
  """Moves the bottom half to the top."""

  geometric = True

  def __call__(self, key, image):
    return jnp.roll(image, 3, axis=0)


class Often(Dim):
  """Has a probability that is none as its default."""

  p: tuple[float, ...] = (2.0,)


@pytest.fixture(autouse=True)
def registered():
  """Registers Dim, Top and Often for one test."""
  built_in = set(operations.OPERATIONS)
  operations.register("dim")(Dim)
  operations.register("top")(Top)
  operations.register("often")(Often)
  yield
  for name in operations.OPERATIONS.keys() - built_in:
    del operations.OPERATIONS[name]


def finish(*extra, crops=GRAY, geometric_only=False, **fields):
  """Applies extra operations to crops; returns float32 [b, v, h, w, c] in the units of the crops."""
  view = {"weak": dataclasses.replace(PLAIN, extra=extra, **fields)}
  pipeline.check(view, None)
  scale = (1 / np.iinfo(crops.dtype).max,) * 3

  @jax.jit
  def run(crops):
    return pipeline.finish(jax.random.key(0), {"weak": crops}, view, (0.0,) * 3, scale, geometric_only)["weak"]

  return np.asarray(run(crops)).round(2)


def test_the_documented_operation_works_in_a_config_and_on_the_command_line(tmp_path):
  file = tmp_path / "my_config.py"
  file.write_text(example("Add an augmentation"))
  config, _ = flags.parse([f"--config={file}:runlocal"])
  pipeline.check(config.views, (28, 28))
  *_, (cutout, p) = pipeline.augmentations("global", config.views["global"], 1)
  assert vars(cutout) == {"max_value": 255, "p": (0.5,), "size": 12} and p == 0.5
  crops = np.full((64, 1, 28, 28, 3), 100, np.uint8)
  black = (finish({"name": "cutout", "p": 0.5, "size": 12}, crops=crops, count=1, size=28) == 0).sum((2, 3, 4))
  assert set(black.ravel()) == {0, 12 * 12 * 3} and 0.25 < (black > 0).mean() < 0.75
  flag = "--config.views.global.extra=({'name':'cutout','p':0.2},)"
  config, _ = flags.parse([f"--config={file}:runlocal", flag])
  assert config.views["global"].extra == ({"name": "cutout", "p": 0.2},)
  assert pipeline.augmentations("global", config.views["global"], 0)[-1][1] == 0.2


def test_an_operation_of_probability_0_is_not_applied():
  assert (finish({"name": "dim", "p": 0.0}) == 100).all()
  assert pipeline.augmentations("weak", dataclasses.replace(PLAIN, extra=({"name": "dim", "p": 0.0},)), 0) == []
  views = finish({"name": "dim", "p": (0.0, 1.0)})
  assert (views[:, 0] == 100).all() and (views[:, 1] < 100).all()


def test_operations_receive_sixteen_bit_values():
  bright = np.full((4, 2, 6, 6, 3), 40_000, np.uint16)
  np.testing.assert_allclose(finish({"name": "solarize"}, crops=bright), 65535 - 40_000, rtol=1e-4)


def test_draws_differ_by_position_row_and_view():
  once = finish({"name": "dim"})
  assert len(np.unique(once)) == 8  # four rows of two views
  twice = finish({"name": "dim"}, {"name": "dim"})
  factors = once / 100, twice / once
  assert (abs(factors[0] - factors[1]) > 1e-3).all()
  np.testing.assert_array_equal(finish({"name": "dim"}), once)


def test_only_geometric_operations_apply_to_probes_and_alignment():
  extra = ({"name": "dim"}, {"name": "top", "p": (1.0, 0.0)})  # of the first view, and of the second
  colors = {"jitter": (0.4,) * 4, "jitter_p": 1.0, "gray_p": 1.0, "blur_p": (1.0,), "solarize_p": (1.0,), "thicken": 0.5}
  group = dataclasses.replace(PLAIN, flip=1.0, extra=extra, **colors)
  data = DataConfig(mean=(0.0,) * 3, std=(1 / 255,) * 3)
  config = Config(views={"global": group}, method={"name": "simclr", "temperature": 0.2}, data=data)
  preprocessing = Preprocessing.of(config)
  view = random_crops.view_of(types.SimpleNamespace(config=config, preprocessing=preprocessing), count=1)
  assert hash(view) == hash(dataclasses.replace(view))  # a static argument of jit
  crops = np.random.default_rng(0).integers(0, 256, (4, 1, 6, 6, 3), dtype=np.uint8)
  finished = random_crops.finish(view, preprocessing, jnp.arange(4), jnp.asarray(crops), None, jax.random.key(0))
  np.testing.assert_allclose(finished, np.roll(crops, 3, axis=2)[:, :, :, ::-1], atol=1e-3)


@pytest.mark.parametrize(
  "entry, message",
  [
    ({"name": "dmi"}, "views.weak.extra[0].name='dmi': unknown; expected affine, color_jitter, dim, flip, "),
    ({"p": 0.5}, "views.weak.extra[0].name='': unknown; expected affine, "),
    ({"name": "dim", "lest": 0.1}, "views.weak.extra[0].lest: unknown field"),
    ({"name": "dim", "least": "x"}, "views.weak.extra[0].least='x': a str"),
    ({"name": "dim", "p": 1.5}, "views.weak.extra[0].p=1.5: expected 1 or 2 probabilities (one a view) in 0..1"),
    ({"name": "dim", "p": (0.1, 0.2, 0.3)}, "views.weak.extra[0].p=(0.1, 0.2, 0.3): "),
    ({"name": "often"}, "views.weak.extra[0].p=(2.0,): expected 1 or 2 probabilities (one a view) in 0..1"),
  ],
)
def test_errors_name_the_entry(entry, message):
  view = read(ViewConfig, {"extra": (entry,)})
  with pytest.raises(UserError) as error:
    pipeline.check({"weak": view}, None)
  assert str(error.value).startswith(message)


def test_two_files_cannot_register_the_same_name():
  with pytest.raises(UserError, match=r"extra\.name=flip: registered by jaxssl\.augment\.operations and by .*test_extra"):
    operations.register("flip")(Dim)
