"""Builds the train step of a run from shapes alone: the TrainStep and the shardings of training, without images or devices."""

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
  """Number and size of the training images."""

  count: int
  size: tuple[int, int] | None = None  # height and width as stored; needed for data.placement=device
  origin: str = ""  # where the count comes from, for the user


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
  """A train step and its arguments as `jax.ShapeDtypeStruct`s with shardings."""

  train_step: TrainStep
  state: TrainState
  batch: Batch
  resident: Any  # all images; None if data.placement=host

  def trace(self) -> jax.stages.Traced:
    """Traces the step that a run would compile."""
    return setup.jit_step(self.train_step, self.state).trace(self.state, self.batch, self.resident)


def build(config: Config, images: DatasetSpec, mesh: Any) -> Step:
  """Builds the step of a run on a mesh, which may be abstract. Raises UserError as training would."""
  batch_size, channels = config.train.batch_size, config.data.channels
  # Training measures a missing mean and std on the images; the values do not change any shape.
  data = dataclasses.replace(config.data, mean=config.data.mean or (0.5,), std=config.data.std or (0.5,))
  config = dataclasses.replace(config, data=data)
  train_step = setup.build_train_step(config, mesh, images.count)
  pixel = jnp.uint8 if config.data.bit_depth == 8 else jnp.uint16

  def sharded(*shape: int, dtype: Any = jnp.int32) -> Any:
    return jax.ShapeDtypeStruct((batch_size, *shape), dtype, sharding=NamedSharding(mesh, ROWS))

  crops = resident = None
  if config.data.placement == "host":
    crops = {name: sharded(v.count, v.size, v.size, channels, dtype=pixel) for name, v in config.views.items()}
  else:
    size = (config.data.resident_size,) * 2 if config.data.resident_size else images.size
    if size is None:
      raise UserError("--size: missing; expected the side of the images in pixels, e.g. --size 256, for data.placement=device")
    resident = jax.ShapeDtypeStruct((images.count, *size, channels), pixel, sharding=NamedSharding(mesh, REPLICATED))
  batch: Any = {"index": sharded(), "label": sharded(), "crops": crops}
  return Step(train_step=train_step, state=setup.abstract_state(train_step, channels), batch=Batch(**batch), resident=resident)
