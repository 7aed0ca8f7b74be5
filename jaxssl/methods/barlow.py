"""Barlow Twins: the cross-correlation of two views' embeddings approaches the identity (arXiv 2103.03230)."""

from jaxssl.core.types import Array, Logs, Outputs
from jaxssl.losses.redundancy import cross_correlation, redundancy
from jaxssl.methods.base import TWO_VIEWS, ForwardSpec, Scheduled, SSLMethod, register


@register("barlow")
class BarlowTwins(SSLMethod):
  """Views agree, and dimensions are not redundant."""

  off_diagonal: float = 0.005  # weight of the off-diagonal elements of the correlation matrix
  scale: float = 1.0  # of the whole loss
  forward_spec = ForwardSpec(student=TWO_VIEWS)
  needs_negatives = True
  must_be_positive = ("off_diagonal", "scale")

  def loss(self, student: Outputs, teacher: Outputs, state: None, scheduled: Scheduled) -> tuple[Array, Logs]:
    """Returns the squared difference between the cross-correlation and the identity (Barlow Twins, eq. 1)."""
    a, b = student.prediction
    return self.scale * redundancy(cross_correlation(a, b), self.off_diagonal), {}
