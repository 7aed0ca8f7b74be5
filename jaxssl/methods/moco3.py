"""MoCo v3: symmetric contrast with the teacher's keys of the same batch (arXiv 2104.02057)."""

import dataclasses

from jaxssl.methods.base import Dims, Passes, Views, remember_nothing, require_negatives, require_positive
from jaxssl.ops.contrastive import in_batch
from jaxssl.ops.similarity import normalize
from jaxssl.schedules import Schedule
from jaxssl.types import Array, Logs, Outputs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moco3:
  """Each view's prediction finds the teacher's key of the other view."""

  momentum: Schedule
  temperature: float = 0.2
  passes: Passes = dataclasses.field(
    default=Passes(online=(Views("global", 0, 2),), teacher=(Views("global", 0, 2),), average_first=True), init=False
  )

  def __post_init__(self) -> None:
    require_positive(temperature=self.temperature)

  def init_memory(self, key: Array, dims: Dims) -> None:
    """Remembers nothing."""
    require_negatives(dims.batch)

  def loss(self, online: Outputs, teacher: Outputs | None, memory: None, step: Array) -> tuple[Array, Logs]:
    """Sum of both directions, each scaled by 2 x temperature (MoCo v3, algorithm 1)."""
    assert teacher is not None
    q, k = normalize(online.prediction), normalize(teacher.projection)
    both = in_batch(q[0], k[1], self.temperature) + in_batch(q[1], k[0], self.temperature)
    return 2.0 * self.temperature * both, {}

  remember = staticmethod(remember_nothing)
