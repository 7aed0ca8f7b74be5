"""Times a few training steps on random images, so that the time of a run is known before it starts."""

import dataclasses
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from jaxssl.config.schema import Config
from jaxssl.core import tree
from jaxssl.core.types import PyTree
from jaxssl.data import resident_size
from jaxssl.data.image_io import dtype_of
from jaxssl.parallel.mesh import REPLICATED, ROWS, make_mesh
from jaxssl.train import build_step, cost
from jaxssl.train.step import Batch

STEPS = 8  # timed at most, after one that is not
FEW = 4  # images per step and device of `StepTimer(..., few=True)`


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepTime:
  """What a run costs on this machine."""

  seconds: float  # per step
  steps: int  # of the run
  compile_seconds: float
  memory: int  # bytes that a device holds at once, images included; 0: unknown
  flops: float  # per step
  basis: str = ""  # what it was estimated from; empty: steps like those of the run were timed


class StepTimer:
  """Times the step of a config for a number of images. To open it takes seconds; compiling may take a minute.

  `few`: with few images per step, from which the time and the memory of whole batches are extrapolated, since one of those may
  take minutes. Raises UserError for a config that cannot run.
  """

  def __init__(self, config: Config, num_images: int, few: bool = False):
    data, self._mesh, self._images = config.data, make_mesh(), num_images
    config = tree.replace(config, {"data.mean": data.mean or (0.5,), "data.std": data.std or (0.5,)})
    self._steps, self._factor = build_step.training_length(config, num_images).steps, 1.0
    if few and (batch_size := FEW * self._mesh.size) < config.train.batch_size:
      self._factor = config.train.batch_size / batch_size
      config = tree.replace(config, {"train.batch_size": batch_size, "train.accumulate": 1})
    train_step = build_step.build_train_step(config, self._mesh, num_images)
    self._config, self._state = train_step.config, build_step.abstract_state(train_step)
    self._batch, self._resident = abstract_inputs(train_step.config, self._mesh, train_step.config.train.batch_size)
    self._traced = build_step.jit_step(train_step, self._state).trace(self._state, self._batch, self._resident)
    self._flops = self._factor * cost.of_step(self._traced, self._mesh.size).flops

  def measure(self, seconds: float) -> StepTime:
    """Compiles the step, runs it once, and then times it for about so many seconds."""
    began = time.monotonic()
    compiled = self._traced.lower().compile()
    compiled_at = time.monotonic()
    state, batch, resident = (_random(shapes) for shapes in (self._state, self._batch, self._resident))
    spent: list[float] = []
    while len(spent) <= STEPS and sum(spent) <= seconds:
      start = time.monotonic()
      state, logs = compiled(state, batch, resident)
      jax.block_until_ready(logs)
      spent.append(time.monotonic() - start)
    return StepTime(
      seconds=self._factor * statistics.mean(spent[1:] or spent),  # the first may be slower
      steps=self._steps,
      compile_seconds=compiled_at - began,
      memory=self._memory(compiled.memory_analysis()),
      flops=self._flops,
      basis="" if self._factor == 1 else f"from steps of {self._config.train.batch_size} images",
    )

  def scaled(self, other: StepTime) -> StepTime:
    """Estimates the step from the speed, in operations per second, of one that was measured."""
    seconds, basis = other.seconds * self._flops / other.flops, "roughly, from its number of operations"
    return StepTime(seconds=seconds, steps=self._steps, compile_seconds=0.0, memory=0, flops=self._flops, basis=basis)

  def _memory(self, stats: Any) -> int:
    """Returns the bytes that the run needs on a device, from what the compiler states of the step."""
    batch_bytes = stats.temp_size_in_bytes + stats.output_size_in_bytes - stats.alias_size_in_bytes
    image_bytes = 0
    if self._resident is not None:
      rows = self._resident.shape[0]
      image_bytes = self._resident.size // rows * self._resident.dtype.itemsize * (self._images - rows)
    return round(stats.argument_size_in_bytes + image_bytes + self._factor * batch_bytes)


def abstract_inputs(config: Config, mesh: Any, resident: int, side: int | None = None) -> tuple[Batch, Any]:
  """Returns shapes, dtypes and shardings of a batch, and of so many resident images; None with data.placement=host.

  `side`: of images that are resident as they are; None: their sizes differ.
  """
  data, views, pixel = config.data, config.views, dtype_of(config.data.bit_depth)

  def rows(*sides: int, dtype: Any = jnp.int32) -> Any:
    return jax.ShapeDtypeStruct((config.train.batch_size, *sides), dtype, sharding=NamedSharding(mesh, ROWS))

  if data.placement == "host":
    crops = {name: rows(view.count, view.size, view.size, data.channels, dtype=pixel) for name, view in views.items()}
    return Batch(index=rows(), label=rows(), crops=crops), None
  side = data.resident_size or side or resident_size.side_for(views)
  images = jax.ShapeDtypeStruct((resident, side, side, data.channels), pixel, sharding=NamedSharding(mesh, REPLICATED))
  return Batch(index=rows(), label=rows(), crops=None), images


def _random(shapes: PyTree) -> PyTree:
  """Returns arrays of these shapes and shardings: small random weights, random bytes, zeros for all other integers."""
  rng = np.random.default_rng(0)

  def array(x: jax.ShapeDtypeStruct) -> jax.Array:
    if jnp.issubdtype(x.dtype, jnp.floating):
      values = (0.05 * rng.standard_normal(x.shape, np.float32)).astype(x.dtype)
    elif x.dtype in (np.uint8, np.uint16):
      values = rng.integers(0, 256, x.shape, x.dtype)
    else:
      values = np.zeros(x.shape, x.dtype)
    return jax.device_put(values, x.sharding)

  return jax.tree.map(array, shapes)
