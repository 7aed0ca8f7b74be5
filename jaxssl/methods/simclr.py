"""SimCLR: a view finds the other view of its image among all views of the batch (arXiv 2002.05709)."""

from jaxssl.core.types import Array, Logs, Outputs
from jaxssl.losses.contrastive import nt_xent
from jaxssl.methods.base import TWO_VIEWS, ForwardSpec, Scheduled, SSLMethod, register
from jaxssl.ops.nearest import normalize


@register("simclr")
class SimCLR(SSLMethod):
  """Contrast within the batch, which should be large."""

  temperature: float = 0.2  # divides the similarities
  forward_spec = ForwardSpec(student=TWO_VIEWS)
  needs_negatives = True
  must_be_positive = ("temperature",)

  def loss(self, student: Outputs, teacher: Outputs, state: None, scheduled: Scheduled) -> tuple[Array, Logs]:
    """Returns the NT-Xent loss (SimCLR, eq. 1)."""
    return nt_xent(normalize(student.prediction), self.temperature), {}
