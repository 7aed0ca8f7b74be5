"""Data structures that all packages share: the views of a batch, a network's outputs and the train state."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar, dataclass_transform

import jax
import optax

T = TypeVar("T")
Array = jax.Array
PyTree = Any
MethodState = Any  # what a method keeps between steps: any tree of arrays
Logs = Mapping[str, Array]  # float32 scalars by name


@dataclass_transform(frozen_default=True, kw_only_default=True)
def struct(cls: type[T]) -> type[T]:
  """Makes a frozen, keyword-only dataclass that is a JAX pytree of its fields."""
  return jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True, kw_only=True)(cls))


@struct
class ViewBatch:
  """The views of one step's images, float32 and normalized: b rows, v views, c channels."""

  index: Array  # int32 [b], position in the training set
  views: Mapping[str, Array]  # group ("global", "local", "weak", "strong") -> [b, v, h, w, c]
  label: Array  # int32 [b], -1 unknown; for logs only, no loss may read it


@struct
class Outputs:
  """A network's outputs for all the views it was given, float32."""

  features: Array  # [v, b, f], the encoder's output
  projection: Array  # [v, b, d], the projector's output
  prediction: Array  # [v, b, d], the predictor's output; the projection if there is no predictor
  extras: Mapping[str, Array] = dataclasses.field(default_factory=dict)  # by name, such as patch tokens; [v, b, ...]


@struct
class Variables:
  """A network's parameters and batch statistics: plain trees, float32."""

  params: PyTree
  stats: PyTree


@struct
class TrainState:
  """Everything that changes during a run. A checkpoint is the whole train state."""

  step: Array  # int32, completed steps
  student: Variables
  teacher: Variables | None  # the exponential moving average of the student; None if the method has no teacher
  method_state: MethodState
  neighbor_bank: Any  # bootstrap.bank.NeighborBank; None if bootstrapping is off
  opt_state: optax.OptState
