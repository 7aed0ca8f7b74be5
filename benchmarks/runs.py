"""Runs for benchmarks: any recipe, on noise of any size."""

import pathlib
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxssl import flags
from jaxssl.config import Config
from jaxssl.fields import read
from jaxssl.run import Run

CONFIGS = pathlib.Path(__file__).parent.parent / "configs"


def made(recipe: str, *words: str, side: int = 32, pictures: int = 1024) -> Run:
  """Puts a recipe (FILE[:RECIPE]) together: fields changed by words such as train.batch_size=64, all views of `side` pixels."""
  file, _, name = recipe.partition(":")
  fields = flags.load(str(CONFIGS / file), name)
  flags.override(fields, [f"--config.data.{word}" for word in ("source=array", "path=", "test_path=", "placement=device")])
  for group in fields["views"].values():
    group["size"] = side
  flags.override(fields, [f"--config.{word}" for word in words])
  images = np.random.default_rng(0).integers(0, 256, (pictures, side, side, 3), np.uint8)
  return Run(read(Config, fields), pathlib.Path(tempfile.mkdtemp()), {"train": (images, None)})


def model_flops(run: Run) -> float:
  """Counts a step's floating-point operations by the usual rule: three times the online network's pass, once the teacher's.

  Products and sums of matrix products and convolutions only; neither the loss nor the optimiser.
  """
  passes, batch = run.trainer.method.passes, run.config.train.batch_size
  state = run.state_shapes

  def of(variables: Any, seen: Any) -> float:
    shapes = [((v.stop or run.config.views[v.group].count) - v.start, run.config.views[v.group].size) for v in seen]
    groups = [jax.ShapeDtypeStruct((batch, views, size, size, run.channels), jnp.float32) for views, size in shapes]
    forward = jax.make_jaxpr(lambda v, g: run.trainer.network.apply(v, g, joint=passes.joint, key=None)[0])(variables, groups)
    return count(forward.jaxpr)

  online = (*passes.online, *(v for v in passes.optional if v.group in run.config.views))
  return 3 * of(state.online, online) + (0 if state.teacher is None else of(state.teacher, passes.teacher))


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
