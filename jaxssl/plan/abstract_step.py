"""The training step of a run whose images are not there: the same Trainer and shardings, from shapes alone."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from jaxssl.config.schema import Config
from jaxssl.core.errors import UserError
from jaxssl.core.types import TrainState
from jaxssl.parallel.mesh import REPLICATED, ROWS
from jaxssl.train import setup
from jaxssl.train.step import Batch, TrainStep


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetSpec:
  """The images that a run would have."""

  count: int
  size: tuple[int, int] | None = None  # height and width as stored, where data.placement=device
  said: str = ""  # where the count is from


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
  """A step ready to be traced: what `jax.jit(train_step.step)` takes."""

  train_step: TrainStep
  state: TrainState  # of shapes with shardings
  rows: Batch
  store: Any  # None where data.placement=host

  def trace(self) -> jax.stages.Traced:
    """Traces the step as a run compiles it."""
    return setup.jit_step(self.train_step, self.state).trace(self.state, self.rows, self.store)


def build(config: Config, images: DatasetSpec, mesh: Any) -> Step:
  """Puts the step of a run together on a mesh, whose devices need not be there. Raises UserError as training would."""
  batch, channels = config.train.batch_size, config.data.channels
  data = dataclasses.replace(config.data, mean=config.data.mean or (0.5,), std=config.data.std or (0.5,))
  config = dataclasses.replace(config, data=data)  # measured on the images otherwise; the step's shape is the same
  train_step = setup.build_train_step(config, mesh, images.count)
  pixel = jnp.uint8 if config.data.bit_depth == 8 else jnp.uint16

  def rows(*shape: int, dtype: Any = jnp.int32) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, ROWS))

  crops = store = None
  if config.data.placement == "host":
    crops = {n: rows(batch, v.count, v.size, v.size, channels, dtype=pixel) for n, v in config.views.items()}
  else:
    side = (config.data.resident_size,) * 2 if config.data.resident_size else images.size
    if side is None:
      raise UserError("--size is missing: data.placement=device holds all images; give their side in pixels, e.g. --size 256")
    everywhere = NamedSharding(mesh, REPLICATED)
    store = jax.ShapeDtypeStruct((images.count, *side, channels), pixel, sharding=everywhere)
  step_rows: Any = {"index": rows(batch), "label": rows(batch), "crops": crops}
  return Step(train_step=train_step, state=setup.abstract_state(train_step, channels), rows=Batch(**step_rows), store=store)
