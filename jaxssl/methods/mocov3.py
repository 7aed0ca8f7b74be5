"""MoCo v3: symmetric contrast with the teacher's keys of the same batch (arXiv 2104.02057)."""

from jaxssl.core.types import Array, Logs, Outputs
from jaxssl.losses.contrastive import in_batch
from jaxssl.methods.base import TWO_VIEWS, ForwardSpec, Scheduled, TeacherMethod, register
from jaxssl.ops.nearest import normalize


@register("mocov3")
class MoCoV3(TeacherMethod):
  """Each view's prediction finds the teacher's key of the other view."""

  temperature: float = 0.2  # divides the similarities
  forward_spec = ForwardSpec(student=TWO_VIEWS, teacher=TWO_VIEWS, ema_before_forward=True)
  needs_negatives = True
  must_be_positive = ("temperature",)

  def loss(self, student: Outputs, teacher: Outputs, state: None, scheduled: Scheduled) -> tuple[Array, Logs]:
    """Returns the sum of both directions, each scaled by 2 x temperature (MoCo v3, algorithm 1)."""
    q, k = normalize(student.prediction), normalize(teacher.projection)
    both = in_batch(q[0], k[1], self.temperature) + in_batch(q[1], k[0], self.temperature)
    return 2.0 * self.temperature * both, {}
