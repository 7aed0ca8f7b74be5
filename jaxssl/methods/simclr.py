"""SimCLR: find the other view of an image among all views of the batch (arXiv 2002.05709)."""

import dataclasses

from jaxssl.core.types import Array, Logs, Outputs
from jaxssl.losses.contrastive import nt_xent
from jaxssl.methods.base import Dims, ForwardSpec, ViewSlice, remember_nothing, require_negatives, require_positive
from jaxssl.ops.nearest import normalize


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimCLR:
  """Contrast within the batch, which should be large."""

  temperature: float = 0.2
  teacher_momentum: None = dataclasses.field(default=None, init=False)
  forward_spec: ForwardSpec = dataclasses.field(default=ForwardSpec(student=(ViewSlice("global", 0, 2),)), init=False)
  remember = staticmethod(remember_nothing)

  def __post_init__(self) -> None:
    require_positive(temperature=self.temperature)

  def init_memory(self, key: Array, dims: Dims) -> None:
    """Remembers nothing."""
    require_negatives(dims.batch)

  def loss(self, student: Outputs, teacher: Outputs | None, memory: None, step: Array) -> tuple[Array, Logs]:
    """NT-Xent (SimCLR, eq. 1)."""
    return nt_xent(normalize(student.prediction), self.temperature), {}
