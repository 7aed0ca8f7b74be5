"""Every recipe of every config file, shrunk: its step traces, and its views, heads and memory fit together."""

import pathlib
from typing import Any

import jax
import numpy as np
import pytest

from jaxssl import assembly, flags, parallel
from jaxssl.run import Run
from jaxssl.step import Rows
from jaxssl.types import UserError

CONFIGS = sorted((pathlib.Path(__file__).parent.parent / "configs").glob("*.py"))


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
  run = Run(config, workdir)
  size = config.train.batch_size
  index: Any = jax.ShapeDtypeStruct((size,), np.int32)
  rows = Rows(index=index, partner=index, label=index, crops=None)
  state, logs = jax.eval_shape(run.trainer.step, run.state_shapes, rows, run.train.store)
  assert logs["loss"].shape == ()
  same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), state, run.state_shapes)
  assert jax.tree.all(same), "a state that changes its form cannot go on"


@pytest.mark.parametrize("size", ["", ",cpu"])
@pytest.mark.parametrize("recipe", EVERY)
def test_views_heads_and_memory_fit_together(recipe, size):
  config, _ = flags.parse([f"--config={CONFIGS[0].parent / recipe}{size}"])
  trainer = assembly.assemble(config, parallel.make_mesh(jax.devices()[:1]), num_images=10**6)
  shapes = assembly.state_of(trainer, config.data.channels)
  assert shapes.online.params["encoder"] and shapes.opt_state is not None
