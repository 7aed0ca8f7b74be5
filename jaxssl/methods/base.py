"""The base class of self-supervised methods: a loss on arrays, and state between steps."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from jaxssl.core.errors import UserError
from jaxssl.core.registry import Registry
from jaxssl.core.types import Array, Logs, MethodState, Outputs, ViewBatch

METHODS: Registry[type["SSLMethod"]] = Registry("method.name")
register = METHODS.register
Scheduled = Mapping[str, Array]  # values of a method's schedules at one step, float32 scalars by field name


class ViewSlice(NamedTuple):
  """Views `start` to `stop` (exclusive) of a view group; None: to the last one that the config makes."""

  group: str
  start: int = 0
  stop: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForwardSpec:
  """Which views each network sees, and how.

  The first view of the teacher, or of the student if there is no teacher, is the image's own: with bootstrapping, its features
  go into the neighbor bank.
  """

  student: tuple[ViewSlice, ...]
  teacher: tuple[ViewSlice, ...] = ()  # empty: there is no teacher
  optional: tuple[ViewSlice, ...] = ()  # groups that the student sees as well if the config makes them
  joint: bool = False  # views of one size share a forward pass, and so batch statistics; otherwise one pass per view
  ema_before_forward: bool = False  # the teacher is updated before its pass (ReSA, ISD), not after the optimizer step (DINO)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dims:
  """Sizes that a method's state may depend on."""

  features: int
  projection: int
  batch: int
  images: int


class SSLMethod:
  """A frozen dataclass of hyperparameters with a loss. It never sees a network, a gradient, a mesh or a loop.

  A subclass is decorated with `register(NAME)` and defines `forward_spec` and `loss`. Fields of type `ScheduleConfig` are
  schedules: the train step resolves them and passes their current values to `loss` as `scheduled`. A method with a teacher
  declares `teacher_momentum: ScheduleConfig`, the share of the teacher that each EMA update keeps.
  """

  forward_spec: Any = None  # a ForwardSpec, or a property that returns one

  def init_state(self, key: Array, dims: Dims) -> MethodState:
    """Returns the state before the first step, any tree of arrays. Raises UserError if `dims` do not fit the method."""
    return None

  def loss(self, student: Outputs, teacher: Outputs, state: MethodState, scheduled: Scheduled) -> tuple[Array, Logs]:
    """Returns the loss, a float32 scalar, and values to log. Only `student` is differentiated.

    student, teacher: outputs of the views in `forward_spec`, in that order; zero views of a teacher that does not exist.
    """
    raise NotImplementedError

  def update_state(self, state: MethodState, student: Outputs, teacher: Outputs, batch: ViewBatch) -> tuple[MethodState, Logs]:
    """Returns the state after the step, and values to log, which may depend on labels."""
    return state, {}


Strength = Literal["weak", "strong"]


def one_view_each(student: Strength, teacher: Strength) -> ForwardSpec:
  """Returns the ForwardSpec of one view for each network, weakly or strongly augmented, the teacher being updated first."""
  first = int(student == teacher)
  return ForwardSpec(
    student=(ViewSlice(student, first, first + 1),), teacher=(ViewSlice(teacher, 0, 1),), ema_before_forward=True
  )


def require_positive(**values: float) -> None:
  """Raises UserError for a hyperparameter that is not positive."""
  for name, value in values.items():
    if value <= 0:
      raise UserError(f"method.{name}={value}: must be positive")


def require_negatives(batch: int) -> None:
  """Raises UserError if a batch holds no other image to take negatives from."""
  if batch < 2:
    raise UserError(f"train.batch_size={batch}: negatives are the other images of a batch; use at least 2")


def require_multiple(queue: int, batch: int) -> None:
  """Raises UserError unless the batch size divides the queue."""
  if queue < batch or queue % batch:
    below, above = max(queue // batch, 1) * batch, (queue // batch + 1) * batch
    nearest = f"{below} or {above}" if below != above else str(above)
    raise UserError(f"method.queue={queue}: must be a multiple of train.batch_size={batch}; nearest: {nearest}")
