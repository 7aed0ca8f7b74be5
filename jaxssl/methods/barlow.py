"""Barlow Twins: the cross-correlation of two views' embeddings approaches the identity (arXiv 2103.03230)."""

import dataclasses

from jaxssl.core.types import Array, Logs, Outputs
from jaxssl.losses.redundancy import cross_correlation, redundancy
from jaxssl.methods.base import (
  Dims,
  ForwardSpec,
  Scheduled,
  SSLMethod,
  ViewSlice,
  register,
  require_negatives,
  require_positive,
)


@register("barlow")
@dataclasses.dataclass(frozen=True, kw_only=True)
class BarlowTwins(SSLMethod):
  """Views agree, and dimensions are not redundant."""

  off_diagonal: float = 0.005  # weight of the off-diagonal elements of the correlation matrix
  scale: float = 1.0  # of the whole loss
  forward_spec = ForwardSpec(student=(ViewSlice("global", 0, 2),))

  def __post_init__(self) -> None:
    require_positive(off_diagonal=self.off_diagonal, scale=self.scale)

  def init_state(self, key: Array, dims: Dims) -> None:
    """Keeps no state."""
    require_negatives(dims.batch)

  def loss(self, student: Outputs, teacher: Outputs, state: None, scheduled: Scheduled) -> tuple[Array, Logs]:
    """Returns the squared difference between the cross-correlation and the identity (Barlow Twins, eq. 1)."""
    a, b = student.prediction
    return self.scale * redundancy(cross_correlation(a, b), self.off_diagonal), {}
