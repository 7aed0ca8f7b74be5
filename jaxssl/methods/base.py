"""What a method is: a loss on arrays, and what it remembers between steps."""

import dataclasses
from typing import Protocol

from jaxssl.schedules import Schedule
from jaxssl.types import Array, Batch, Logs, Memory, Outputs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Passes:
  """Which groups of views each network sees, and how."""

  online: tuple[str, ...]
  teacher: tuple[str, ...] = ()  # empty: there is no teacher
  optional: tuple[str, ...] = ()  # groups that the online network sees too where the config makes them
  joint: bool = False  # views of one size share one pass, and so batch statistics; otherwise one pass a view
  average_first: bool = False  # the teacher's average is taken before its pass (ReSA, ISD), not after the update (DINO)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dims:
  """The sizes a method's memory may depend on."""

  features: int
  projection: int
  batch: int
  images: int


class Method(Protocol):
  """A frozen dataclass of hyper-parameters. It never sees a network, a gradient, a mesh or a loop."""

  @property
  def passes(self) -> Passes:
    """Which views the networks see."""
    ...

  @property
  def momentum(self) -> Schedule | None:
    """The teacher's share that stays at each step; None where there is no teacher."""
    ...

  def init_memory(self, key: Array, dims: Dims) -> Memory:
    """Makes the memory before the first step."""
    ...

  def loss(self, online: Outputs, teacher: Outputs | None, memory: Memory, step: Array) -> tuple[Array, Logs]:
    """Gives the loss (float32 scalar) and figures to log. Differentiable in `online` only."""
    ...

  def remember(self, memory: Memory, online: Outputs, teacher: Outputs | None, batch: Batch) -> Memory:
    """Gives the memory after the step."""
    ...
