"""Runs for benchmarks: any recipe, on noise of any size."""

import pathlib
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxssl.config import fields, load
from jaxssl.config.parse import read
from jaxssl.config.schema import Config
from jaxssl.train.setup import Experiment

CONFIGS = pathlib.Path(__file__).parent.parent / "configs"


def made(recipe: str, *words: str, side: int = 32, num_images: int = 1024) -> Experiment:
  """Puts a recipe (FILE[:RECIPE]) together: fields changed by words such as train.batch_size=64, all views of `side` pixels."""
  config = load.load(str(CONFIGS / recipe))
  changes = {"data.source": "array", "data.path": "", "data.test_path": "", "data.placement": "device"}
  changes |= {f"views.{group}.size": side for group in config["views"]}
  changes |= {path: fields.parse_value(path, text) for path, _, text in (word.partition("=") for word in words)}
  images = np.random.default_rng(0).integers(0, 256, (num_images, side, side, 3), np.uint8)
  return Experiment(read(Config, load.changed(config, changes)), pathlib.Path(tempfile.mkdtemp()), {"train": (images, None)})


def model_flops(run: Experiment) -> float:
  """Counts a step's floating-point operations by the usual rule: three times the student network's pass, once the teacher's.

  Products and sums of matrix products and convolutions only; neither the loss nor the optimizer.
  """
  forward_spec, batch = run.train_step.method.forward_spec, run.config.train.batch_size
  state = run.state_shapes

  def of(variables: Any, seen: Any) -> float:
    shapes = [((v.stop or run.config.views[v.group].count) - v.start, run.config.views[v.group].size) for v in seen]
    groups = [jax.ShapeDtypeStruct((batch, views, size, size, run.channels), jnp.float32) for views, size in shapes]
    forward = jax.make_jaxpr(lambda v, g: run.train_step.network.apply(v, g, joint=forward_spec.joint, key=None)[0])(
      variables, groups
    )
    return count(forward.jaxpr)

  student = (*forward_spec.student, *(v for v in forward_spec.optional if v.group in run.config.views))
  return 3 * of(state.student, student) + (0 if state.teacher is None else of(state.teacher, forward_spec.teacher))


def count(jaxpr: Any) -> float:
  """Counts the operations of a forward pass: 2 for each product that is added up."""
  total = 0.0
  for equation in jaxpr.eqns:
    out = equation.outvars[0].aval
    if equation.primitive.name == "dot_general":
      (contracted, _), _ = equation.params["dimension_numbers"]
      total += 2 * out.size * np.prod([equation.invars[0].aval.shape[d] for d in contracted])
    elif equation.primitive.name == "conv_general_dilated":
      kernel, numbers = equation.invars[1].aval, equation.params["dimension_numbers"]
      total += 2 * out.size * kernel.size / kernel.shape[numbers.rhs_spec[0]]
    else:
      inner = [value for value in equation.params.values() if hasattr(value, "eqns") or hasattr(value, "jaxpr")]
      times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
      total += times * sum(count(getattr(value, "jaxpr", value)) for value in inner)
  return float(total)
