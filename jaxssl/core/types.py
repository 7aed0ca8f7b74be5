"""The nouns every room shares: a batch, what a network saw in it, and all that a run remembers."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar, dataclass_transform

import jax
import optax

T = TypeVar("T")
Array = jax.Array
PyTree = Any
Memory = Any  # what one method remembers between steps: a tree of arrays
Logs = Mapping[str, Array]  # float32 scalars, by name


@dataclass_transform(frozen_default=True, kw_only_default=True)
def struct(cls: type[T]) -> type[T]:
  """Makes a frozen, keyword-only dataclass that jax treats as a tree of its fields."""
  return jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True, kw_only=True)(cls))


@struct
class ViewBatch:
  """One step's images as the networks see them. `b` rows, `v` views, `c` channels, float32, normalized."""

  index: Array  # int32 [b], position in the source: keys what is remembered for each image
  views: Mapping[str, Array]  # group ("global", "local", "weak", "strong") -> [b, v, h, w, c]
  label: Array  # int32 [b], -1 unknown; for logs only, no loss may read it
  mask: Array  # bool [b], False on the padding of an evaluation's last batch


@struct
class Outputs:
  """What one network made of all the views it saw, float32."""

  features: Array  # [v, b, f], the encoder's output
  projection: Array  # [v, b, d], after the projector
  prediction: Array  # [v, b, d], after the predictor; the projection where there is none


@struct
class Variables:
  """A network's weights and its batch statistics; both plain trees, float32."""

  params: PyTree
  stats: PyTree


@struct
class TrainState:
  """Everything a run remembers. A checkpoint of it is the whole run."""

  step: Array  # int32, steps done
  student: Variables
  teacher: Variables | None  # the moving average of `student`
  memory: Memory
  neighbors: Any  # memory.Neighbors when bootstrapping is on, else None
  opt_state: optax.OptState
