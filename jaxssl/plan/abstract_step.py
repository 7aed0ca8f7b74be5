"""Builds the train step of a run from shapes alone: the TrainStep and the shardings of training, without images or devices."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from jaxssl.config.schema import Config
from jaxssl.core import tree
from jaxssl.core.errors import UserError
from jaxssl.core.types import TrainState
from jaxssl.data.image_io import dtype_of
from jaxssl.parallel.mesh import REPLICATED, ROWS
from jaxssl.plan.dataset_sizes import DatasetSpec
from jaxssl.train import setup
from jaxssl.train.step import Batch, TrainStep


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
  data = config.data
  # Training measures a missing mean and std on the images; the values do not change any shape.
  config = tree.replace(config, {"data.mean": data.mean or (0.5,), "data.std": data.std or (0.5,)})
  train_step, pixel = setup.build_train_step(config, mesh, images.count), dtype_of(data.bit_depth)

  def sharded(*shape: int, dtype: Any = jnp.int32) -> Any:
    return jax.ShapeDtypeStruct((config.train.batch_size, *shape), dtype, sharding=NamedSharding(mesh, ROWS))

  crops = resident = None
  if data.placement == "host":
    crops = {name: sharded(v.count, v.size, v.size, data.channels, dtype=pixel) for name, v in config.views.items()}
  else:
    size = (data.resident_size, data.resident_size) if data.resident_size else images.size
    if size is None:
      raise UserError("--size: missing; expected the side of the images in pixels, e.g. --size 256, for data.placement=device")
    resident = jax.ShapeDtypeStruct((images.count, *size, data.channels), pixel, sharding=NamedSharding(mesh, REPLICATED))
  batch = Batch(index=sharded(), label=sharded(), crops=crops)
  return Step(train_step=train_step, state=setup.abstract_state(train_step, data.channels), batch=batch, resident=resident)
