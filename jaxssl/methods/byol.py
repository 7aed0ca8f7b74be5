"""BYOL: each view's prediction approaches the teacher's projection of the other view (arXiv 2006.07733)."""

import dataclasses

from jaxssl.methods.base import Passes, Views, no_memory, remember_nothing
from jaxssl.ops.distillation import cosine_distance
from jaxssl.ops.similarity import normalize
from jaxssl.schedules import Schedule
from jaxssl.types import Array, Logs, Outputs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Byol:
  """No negatives: the predictor and the slow teacher keep it from collapsing."""

  momentum: Schedule
  passes: Passes = dataclasses.field(
    default=Passes(online=(Views("global", 0, 2),), teacher=(Views("global", 0, 2),)), init=False
  )
  init_memory = staticmethod(no_memory)
  remember = staticmethod(remember_nothing)

  def loss(self, online: Outputs, teacher: Outputs | None, memory: None, step: Array) -> tuple[Array, Logs]:
    """Sum over both directions of the squared distance of unit vectors (BYOL, eq. 2)."""
    assert teacher is not None
    return 2.0 * cosine_distance(normalize(online.prediction), normalize(teacher.projection[::-1])), {}
