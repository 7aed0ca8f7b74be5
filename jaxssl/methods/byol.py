"""BYOL: each view's prediction approaches the teacher's projection of the other view (arXiv 2006.07733)."""

from jaxssl.core.types import Array, Logs, Outputs
from jaxssl.losses.distillation import cosine_distance
from jaxssl.methods.base import TWO_VIEWS, ForwardSpec, Scheduled, TeacherMethod, register
from jaxssl.ops.nearest import normalize


@register("byol")
class BYOL(TeacherMethod):
  """Distills without negatives: the predictor and the slow teacher prevent collapse."""

  forward_spec = ForwardSpec(student=TWO_VIEWS, teacher=TWO_VIEWS)

  def loss(self, student: Outputs, teacher: Outputs, state: None, scheduled: Scheduled) -> tuple[Array, Logs]:
    """Returns the squared distance of unit vectors, summed over both directions (BYOL, eq. 2)."""
    return 2.0 * cosine_distance(normalize(student.prediction), normalize(teacher.projection[::-1])), {}
