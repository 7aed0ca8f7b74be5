"""SimCLR: find the other view of an image among all views of the batch (arXiv 2002.05709)."""

import dataclasses

from jaxssl.methods.base import Dims, Passes, Views, remember_nothing, require_negatives, require_positive
from jaxssl.ops.contrastive import nt_xent
from jaxssl.ops.similarity import normalize
from jaxssl.types import Array, Logs, Outputs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simclr:
  """Contrast within the batch, which should be large."""

  temperature: float = 0.2
  momentum: None = dataclasses.field(default=None, init=False)
  passes: Passes = dataclasses.field(default=Passes(online=(Views("global", 0, 2),)), init=False)
  remember = staticmethod(remember_nothing)

  def __post_init__(self) -> None:
    require_positive(temperature=self.temperature)

  def init_memory(self, key: Array, dims: Dims) -> None:
    """Remembers nothing."""
    require_negatives(dims.batch)

  def loss(self, online: Outputs, teacher: Outputs | None, memory: None, step: Array) -> tuple[Array, Logs]:
    """NT-Xent (SimCLR, eq. 1)."""
    return nt_xent(normalize(online.prediction), self.temperature), {}
