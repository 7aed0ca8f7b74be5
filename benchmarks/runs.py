"""Builds the experiments of the benchmarks from any recipe, on random images of any size."""

import pathlib
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxssl.config import fields, load
from jaxssl.config.parse import read
from jaxssl.config.schema import Config
from jaxssl.train.cost import flops
from jaxssl.train.setup import Experiment

CONFIGS = pathlib.Path(__file__).parent.parent / "configs"


def build_run(recipe: str, *words: str, side: int | None = 32, num_images: int = 1024) -> Experiment:
  """Builds a recipe (FILE[:RECIPE]) with changes such as train.batch_size=64 and all views of `side` pixels.

  side=None: with the recipe's own images and sizes.
  """
  config = load.load(str(CONFIGS / recipe))
  own = {path: fields.parse_value(path, text) for path, _, text in (word.partition("=") for word in words)}
  if side is None:
    return Experiment(read(Config, load.changed(config, own)), pathlib.Path(tempfile.mkdtemp()))
  changes = {"data.source": "array", "data.path": "", "data.test_path": "", "data.placement": "device"}
  changes |= {f"views.{group}.size": side for group in config["views"]} | own
  images = np.random.default_rng(0).integers(0, 256, (num_images, side, side, 3), np.uint8)
  return Experiment(read(Config, load.changed(config, changes)), pathlib.Path(tempfile.mkdtemp()), {"train": (images, None)})


def model_flops(run: Experiment) -> float:
  """Counts the operations of a step: three times the student's forward pass (forward and backward) plus the teacher's.

  Counts matrix products and convolutions, without the loss and the optimizer.
  """
  forward_spec, batch = run.train_step.method.forward_spec, run.config.train.batch_size
  state = run.state_shapes

  def forward_flops(variables: Any, views: Any) -> float:
    shapes = [((v.stop or run.config.views[v.group].count) - v.start, run.config.views[v.group].size) for v in views]
    groups = [jax.ShapeDtypeStruct((batch, count, size, size, run.config.data.channels), jnp.float32) for count, size in shapes]
    forward = jax.make_jaxpr(lambda v, g: run.train_step.network.apply(v, g, joint=forward_spec.joint, key=None)[0])(
      variables, groups
    )
    return flops(forward.jaxpr, chips=1)

  student = (*forward_spec.student, *(v for v in forward_spec.optional if v.group in run.config.views))
  teacher = 0 if state.teacher is None else forward_flops(state.teacher, forward_spec.teacher)
  return 3 * forward_flops(state.student, student) + teacher
