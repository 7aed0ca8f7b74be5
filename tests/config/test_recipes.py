"""Every recipe of every config file, shrunk: its step traces, and its views, heads and memory fit together."""

import pathlib
from typing import Any

import jax
import numpy as np
import pytest

from jaxssl.config import flags
from jaxssl.core.errors import UserError
from jaxssl.parallel.mesh import make_mesh
from jaxssl.train import setup
from jaxssl.train.setup import Experiment
from jaxssl.train.step import Batch

CONFIGS = sorted((pathlib.Path(__file__).parents[2] / "configs").glob("*.py"))


def recipes(path: pathlib.Path) -> list[str]:
  """The recipes that the file's own error message lists."""
  with pytest.raises(UserError) as caught:
    flags.load(str(path), "no_such_recipe")
  return ["", *str(caught.value).split("allowed: ")[1].split(", ")[:-2]]


EVERY = [f"{path.name}:{recipe}" for path in CONFIGS for recipe in recipes(path)]


def test_there_is_a_config_file_for_every_method():
  assert len(CONFIGS) >= 12 and len(EVERY) > len(CONFIGS)


@pytest.mark.parametrize("recipe", EVERY)
def test_the_step_traces(recipe, tmp_path, one_device):
  flag = [f"--config={CONFIGS[0].parent / recipe},runlocal", "--config.data.placement=device", f"--workdir={tmp_path}"]
  config, workdir = flags.parse(flag)
  run = Experiment(config, workdir)
  size = config.train.batch_size
  index: Any = jax.ShapeDtypeStruct((size,), np.int32)
  rows = Batch(index=index, partner=index, label=index, crops=None)
  state, logs = jax.eval_shape(run.train_step.step, run.state_shapes, rows, run.train.store)
  assert logs["loss"].shape == ()
  same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), state, run.state_shapes)
  assert jax.tree.all(same), "a state that changes its form cannot go on"


@pytest.mark.parametrize("size", ["", ",cpu"])
@pytest.mark.parametrize("recipe", EVERY)
def test_views_heads_and_memory_fit_together(recipe, size):
  config, _ = flags.parse([f"--config={CONFIGS[0].parent / recipe}{size}"])
  train_step = setup.assemble(config, make_mesh(jax.devices()[:1]), num_images=10**6)
  shapes = setup.state_of(train_step, config.data.channels)
  assert shapes.student.params["encoder"] and shapes.opt_state is not None


@pytest.mark.parametrize("policy", ["naive", "adaptive"])
@pytest.mark.parametrize("recipe", EVERY)
def test_every_recipe_accepts_every_policy(recipe, policy):
  config, _ = flags.parse([f"--config={CONFIGS[0].parent / recipe}", f"--config.bootstrap.policy={policy}"])
  train_step = setup.assemble(config, make_mesh(jax.devices()[:1]), num_images=10**6)
  assert train_step.bootstrap.config.policy == policy
