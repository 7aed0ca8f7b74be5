"""Barlow Twins: the correlation of two views' features becomes the identity (arXiv 2103.03230)."""

import dataclasses

from jaxssl.core.types import Array, Logs, Outputs
from jaxssl.losses.redundancy import cross_correlation, redundancy
from jaxssl.methods.base import Dims, ForwardSpec, ViewSlice, remember_nothing, require_negatives, require_positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class BarlowTwins:
  """Views agree, dimensions do not repeat each other."""

  off_diagonal: float = 0.005
  scale: float = 1.0  # of the whole loss
  teacher_momentum: None = dataclasses.field(default=None, init=False)
  forward_spec: ForwardSpec = dataclasses.field(default=ForwardSpec(student=(ViewSlice("global", 0, 2),)), init=False)
  remember = staticmethod(remember_nothing)

  def __post_init__(self) -> None:
    require_positive(off_diagonal=self.off_diagonal, scale=self.scale)

  def init_memory(self, key: Array, dims: Dims) -> None:
    """Remembers nothing."""
    require_negatives(dims.batch)

  def loss(self, student: Outputs, teacher: Outputs | None, memory: None, step: Array) -> tuple[Array, Logs]:
    """Squared difference of the correlation and the identity (Barlow Twins, eq. 1)."""
    a, b = student.prediction
    return self.scale * redundancy(cross_correlation(a, b), self.off_diagonal), {}
