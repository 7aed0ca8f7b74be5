"""BYOL: each view's prediction approaches the teacher's projection of the other view (arXiv 2006.07733)."""

import dataclasses

from jaxssl.config.schedules import Schedule
from jaxssl.core.types import Array, Logs, Outputs
from jaxssl.losses.distillation import cosine_distance
from jaxssl.methods.base import ForwardSpec, ViewSlice, no_memory, remember_nothing
from jaxssl.ops.nearest import normalize


@dataclasses.dataclass(frozen=True, kw_only=True)
class BYOL:
  """No negatives: the predictor and the slow teacher keep it from collapsing."""

  teacher_momentum: Schedule
  forward_spec: ForwardSpec = dataclasses.field(
    default=ForwardSpec(student=(ViewSlice("global", 0, 2),), teacher=(ViewSlice("global", 0, 2),)), init=False
  )
  init_memory = staticmethod(no_memory)
  remember = staticmethod(remember_nothing)

  def loss(self, student: Outputs, teacher: Outputs | None, memory: None, step: Array) -> tuple[Array, Logs]:
    """Sum over both directions of the squared distance of unit vectors (BYOL, eq. 2)."""
    assert teacher is not None
    return 2.0 * cosine_distance(normalize(student.prediction), normalize(teacher.projection[::-1])), {}
