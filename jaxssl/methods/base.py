"""What a method is: a loss on arrays, and what it remembers between steps."""

import dataclasses
from typing import Literal, NamedTuple, Protocol

from jaxssl.config.schedules import Schedule
from jaxssl.core.errors import UserError
from jaxssl.core.types import Array, Logs, Memory, Outputs, ViewBatch


class ViewSlice(NamedTuple):
  """Some views of a group: from number `start` to before `stop`; None: all that the config makes."""

  group: str
  start: int = 0
  stop: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForwardSpec:
  """Which views each network sees, and how. The teacher's first view, or else the student network's, is the image's own."""

  student: tuple[ViewSlice, ...]
  teacher: tuple[ViewSlice, ...] = ()  # empty: there is no teacher
  optional: tuple[ViewSlice, ...] = ()  # groups that the student network sees too where the config makes them
  joint: bool = False  # views of one size share one pass, and so batch statistics; otherwise one pass a view
  ema_before_forward: bool = False  # the teacher's average is taken before its pass (ReSA, ISD), not after the update (DINO)


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
  def forward_spec(self) -> ForwardSpec:
    """Which views the networks see."""
    ...

  @property
  def teacher_momentum(self) -> Schedule | None:
    """The teacher's share that stays at each step; None where there is no teacher."""
    ...

  def init_memory(self, key: Array, dims: Dims) -> Memory:
    """Makes the memory before the first step."""
    ...

  def loss(self, student: Outputs, teacher: Outputs | None, memory: Memory, step: Array) -> tuple[Array, Logs]:
    """Gives the loss (float32 scalar) and figures to log. Differentiable in `student` only."""
    ...

  def remember(self, memory: Memory, student: Outputs, teacher: Outputs | None, batch: ViewBatch) -> tuple[Memory, Logs]:
    """Gives the memory after the step, and figures to log that may look at labels."""
    ...


Strength = Literal["weak", "strong"]


def pair(student: Strength, teacher: Strength, ema_before_forward: bool = False) -> ForwardSpec:
  """One view for the student network and another for the teacher, each weakly or strongly augmented."""
  return ForwardSpec(
    student=(ViewSlice(student, int(student == teacher), 1 + int(student == teacher)),),
    teacher=(ViewSlice(teacher, 0, 1),),
    ema_before_forward=ema_before_forward,
  )


def no_memory(key: Array, dims: Dims) -> None:
  """The `init_memory` of a method without memory."""


def remember_nothing(memory: None, student: Outputs, teacher: Outputs | None, batch: ViewBatch) -> tuple[None, Logs]:
  """The `remember` of a method without memory."""
  return None, {}


def require_positive(**values: float) -> None:
  """Raises UserError for a hyper-parameter that is not above 0."""
  for name, value in values.items():
    if value <= 0:
      raise UserError(f"method.{name}={value} is not allowed; it is above 0")


def require_negatives(batch: int) -> None:
  """Raises UserError where a batch has no other image to take negatives from."""
  if batch < 2:
    raise UserError(f"train.batch_size={batch} is not allowed; negatives come from the other images of a batch: at least 2")


def require_multiple(queue: int, batch: int) -> None:
  """Raises UserError where the batch does not divide the queue."""
  if queue < batch or queue % batch:
    below, above = max(queue // batch, 1) * batch, (queue // batch + 1) * batch
    nearest = f"{below} or {above}" if below != above else str(above)
    raise UserError(f"method.queue={queue} is not a multiple of train.batch_size={batch}; nearest: {nearest}")
