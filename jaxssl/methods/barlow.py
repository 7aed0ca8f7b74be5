"""Barlow Twins: the correlation of two views' features becomes the identity (arXiv 2103.03230)."""

import dataclasses

from jaxssl.methods.base import Dims, Passes, Views, remember_nothing, require_negatives, require_positive
from jaxssl.ops.redundancy import cross_correlation, redundancy
from jaxssl.types import Array, Logs, Outputs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Barlow:
  """Views agree, dimensions do not repeat each other."""

  off_diagonal: float = 0.005
  scale: float = 1.0  # of the whole loss
  momentum: None = dataclasses.field(default=None, init=False)
  passes: Passes = dataclasses.field(default=Passes(online=(Views("global", 0, 2),)), init=False)
  remember = staticmethod(remember_nothing)

  def __post_init__(self) -> None:
    require_positive(off_diagonal=self.off_diagonal, scale=self.scale)

  def init_memory(self, key: Array, dims: Dims) -> None:
    """Remembers nothing."""
    require_negatives(dims.batch)

  def loss(self, online: Outputs, teacher: Outputs | None, memory: None, step: Array) -> tuple[Array, Logs]:
    """Squared difference of the correlation and the identity (Barlow Twins, eq. 1)."""
    a, b = online.prediction
    return self.scale * redundancy(cross_correlation(a, b), self.off_diagonal), {}
