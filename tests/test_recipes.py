"""Every recipe of every config file, shrunk: its step traces, and its views, heads and memory fit together."""

import pathlib
from typing import Any

import jax
import numpy as np
import pytest

from jaxssl import flags, parallel
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


@pytest.mark.parametrize("smaller", ["runlocal", "cpu"])
@pytest.mark.parametrize("recipe", EVERY)
def test_the_step_traces(recipe, smaller, tmp_path, monkeypatch):
  make_mesh = parallel.make_mesh
  monkeypatch.setattr(parallel, "make_mesh", lambda: make_mesh(jax.devices()[:1]))
  data = ["source=mnist5k", "path=", "placement=device", "imbalance.kind=none"] if smaller == "cpu" else ["placement=device"]
  limit = [] if smaller == "runlocal" else ["limit=1000"]
  flag = [f"--config={CONFIGS[0].parent / recipe},{smaller}", *(f"--config.data.{word}" for word in [*data, *limit])]
  config, workdir = flags.parse([*flag, f"--workdir={tmp_path}"])
  run = Run(config, workdir)
  size = config.train.batch_size
  index: Any = jax.ShapeDtypeStruct((size,), np.int32)
  rows = Rows(index=index, partner=index, label=index, crops=None)
  state, logs = jax.eval_shape(run.trainer.step, run.state_shapes, rows, run.train.store)
  assert logs["loss"].shape == ()
  same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), state, run.state_shapes)
  assert jax.tree.all(same), "a state that changes its form cannot go on"
