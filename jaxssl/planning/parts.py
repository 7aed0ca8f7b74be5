"""The training step of a run whose pictures are not there: the same Trainer and shardings, from shapes alone."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from jaxssl import assembly, parallel
from jaxssl.config import Config
from jaxssl.step import Rows, Trainer
from jaxssl.types import TrainState, UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pictures:
  """The pictures that a run would have."""

  count: int
  size: tuple[int, int] | None = None  # height and width as stored, where data.placement=device
  said: str = ""  # where the count is from


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
  """A step ready to be traced: what `jax.jit(trainer.step)` takes."""

  trainer: Trainer
  state: TrainState  # of shapes with shardings
  rows: Rows
  store: Any  # None where data.placement=host

  def trace(self) -> jax.stages.Traced:
    """Traces the step as a run compiles it."""
    return assembly.step_of(self.trainer, self.state).trace(self.state, self.rows, self.store)


def build(config: Config, pictures: Pictures, mesh: Any) -> Step:
  """Puts the step of a run together on a mesh, whose devices need not be there. Raises UserError as training would."""
  batch, channels = config.train.batch_size, config.data.channels
  data = dataclasses.replace(config.data, mean=config.data.mean or (0.5,), std=config.data.std or (0.5,))
  config = dataclasses.replace(config, data=data)  # measured on the pictures otherwise; the step's shape is the same
  trainer = assembly.assemble(config, mesh, pictures.count)
  pixel = jnp.uint8 if config.data.depth == 8 else jnp.uint16

  def rows(*shape: int, dtype: Any = jnp.int32) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, parallel.ROWS))

  crops = store = None
  if config.data.placement == "host":
    crops = {n: rows(batch, v.count, v.size, v.size, channels, dtype=pixel) for n, v in config.views.items()}
  else:
    side = (config.data.store_size,) * 2 if config.data.store_size else pictures.size
    if side is None:
      raise UserError("--size is missing: data.placement=device holds all pictures; give their side in pixels, e.g. --size 256")
    everywhere = NamedSharding(mesh, parallel.EVERYWHERE)
    store = jax.ShapeDtypeStruct((pictures.count, *side, channels), pixel, sharding=everywhere)
  step_rows: Any = {"index": rows(batch), "partner": rows(batch), "label": rows(batch), "crops": crops}
  return Step(trainer=trainer, state=assembly.state_of(trainer, channels), rows=Rows(**step_rows), store=store)
