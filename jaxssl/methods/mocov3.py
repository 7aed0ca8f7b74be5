"""MoCo v3: symmetric contrast with the teacher's keys of the same batch (arXiv 2104.02057)."""

import dataclasses

from jaxssl.config.schedules import Schedule
from jaxssl.core.types import Array, Logs, Outputs
from jaxssl.losses.contrastive import in_batch
from jaxssl.methods.base import Dims, ForwardSpec, ViewSlice, remember_nothing, require_negatives, require_positive
from jaxssl.ops.nearest import normalize


@dataclasses.dataclass(frozen=True, kw_only=True)
class MoCoV3:
  """Each view's prediction finds the teacher's key of the other view."""

  teacher_momentum: Schedule
  temperature: float = 0.2
  forward_spec: ForwardSpec = dataclasses.field(
    default=ForwardSpec(student=(ViewSlice("global", 0, 2),), teacher=(ViewSlice("global", 0, 2),), ema_before_forward=True),
    init=False,
  )

  def __post_init__(self) -> None:
    require_positive(temperature=self.temperature)

  def init_memory(self, key: Array, dims: Dims) -> None:
    """Remembers nothing."""
    require_negatives(dims.batch)

  def loss(self, student: Outputs, teacher: Outputs | None, memory: None, step: Array) -> tuple[Array, Logs]:
    """Sum of both directions, each scaled by 2 x temperature (MoCo v3, algorithm 1)."""
    assert teacher is not None
    q, k = normalize(student.prediction), normalize(teacher.projection)
    both = in_batch(q[0], k[1], self.temperature) + in_batch(q[1], k[0], self.temperature)
    return 2.0 * self.temperature * both, {}

  remember = staticmethod(remember_nothing)
