"""The base class of self-supervised methods: a loss on arrays, and state between steps."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from jaxssl.config.schedules import ScheduleConfig
from jaxssl.core import Registry, require
from jaxssl.core.metric import Metric
from jaxssl.core.types import Array, Logs, MethodState, Outputs, ViewBatch

METRICS = (  # that losses and updates of methods return
  Metric("teacher_entropy", "Teacher entropy", "Of the teacher's targets. 0 or the maximum: collapse.", unit="nats"),
  Metric("prototypes_used", "Prototypes used", "How many prototypes the teacher's targets use. Near 1: collapse."),
  Metric("purity", "Purity of the queue", "Share of the nearest keys that have the image's class.", higher_is_better=True),
)
METHODS: Registry[type["SSLMethod"]] = Registry("method.name", dataclass=True)
register = METHODS.register
Scheduled = Mapping[str, Array]  # values of a method's schedules at one step, float32 scalars by field name


class ViewSlice(NamedTuple):
  """Views `start` to `stop` (exclusive) of a view group; None: to the last one that the config makes."""

  group: str
  start: int = 0
  stop: int | None = None


TWO_VIEWS = (ViewSlice("global", 0, 2),)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForwardSpec:
  """Which views each network sees, and how.

  The first view of the teacher, or of the student if there is no teacher, is the image's own: with bootstrapping, its features
  go into the neighbor bank.
  """

  student: tuple[ViewSlice, ...]
  teacher: tuple[ViewSlice, ...] = ()  # empty: there is no teacher
  optional: tuple[ViewSlice, ...] = ()  # groups that the student sees as well if the config makes them
  views: int = 1  # least number of views of the student, those of optional groups included
  joint: bool = False  # views of one size share a forward pass, and so batch statistics; otherwise one pass per view
  # with `model.bn_groups`, the teacher's groups are drawn anew, so that batch statistics do not reveal which of its outputs
  # belong to the student's (ShuffleBN: arXiv 1911.05722, section 3.3)
  shuffle_teacher: bool = False
  ema_before_forward: bool = False  # the teacher is updated before its pass (ReSA, ISD), not after the optimizer step (DINO)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dims:
  """Sizes that a method's state may depend on."""

  features: int
  projection: int
  batch: int
  images: int


class SSLMethod:
  """Hyperparameters with a loss. It never sees a network, a gradient, a mesh or a loop.

  A subclass is decorated with `register(NAME)`, which makes it a frozen dataclass, and defines `forward_spec` and `loss`.
  Fields of type `ScheduleConfig` are schedules: the train step resolves them and passes their current values to `loss` as
  `scheduled`.
  """

  forward_spec: Any = None  # a ForwardSpec, or a property that returns one
  needs_negatives: bool = False  # the loss contrasts the images of a batch, so a batch must hold at least two
  must_be_positive: tuple[str, ...] = ()  # names of hyperparameters; of schedules, all values
  shares: tuple[str, ...] = ()  # names of those from 0 to 1

  def __post_init__(self) -> None:
    """Raises UserError for a hyperparameter that is out of range."""
    for field, value in self._values(self.must_be_positive):
      require(value > 0, field, value, "a positive number")
    for field, value in self._values(self.shares):
      require(0 <= value <= 1, field, value, "0 to 1")

  def _values(self, names: Sequence[str]) -> Iterator[tuple[str, float]]:
    for name in names:
      value = getattr(self, name)
      if isinstance(value, ScheduleConfig):
        yield from ((f"method.{name}.{field}", number) for field, number in value.values().items())
      else:
        yield f"method.{name}", value

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherMethod(SSLMethod):
  """A method with a teacher, which `forward_spec` gives views."""

  teacher_momentum: ScheduleConfig  # share of the teacher that is kept at each step of the EMA

  def __post_init__(self) -> None:
    """Raises UserError for a share that is out of range as well."""
    super().__post_init__()
    for field, value in self._values(["teacher_momentum"]):
      require(0 <= value <= 1, field, value, "0 to 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneViewMethod(TeacherMethod):
  """A method with a shuffled teacher, which is updated first, and one view for each network."""

  student_view: Literal["weak", "strong"] = "strong"  # augmentation of the student's view
  teacher_view: Literal["weak", "strong"] = "strong"  # augmentation of the teacher's view

  @property
  def forward_spec(self) -> ForwardSpec:
    first = int(self.student_view == self.teacher_view)  # the first view of a group is the teacher's
    student, teacher = ViewSlice(self.student_view, first, first + 1), ViewSlice(self.teacher_view, 0, 1)
    return ForwardSpec(student=(student,), teacher=(teacher,), shuffle_teacher=True, ema_before_forward=True)
