"""SimSiam: each view's prediction approaches the other view's projection, which gets no gradient (arXiv 2011.10566)."""

import dataclasses

import jax

from jaxssl.core.types import Array, Logs, Outputs
from jaxssl.losses.distillation import cosine_distance
from jaxssl.methods.base import ForwardSpec, ViewSlice, no_memory, remember_nothing
from jaxssl.ops.nearest import normalize


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimSiam:
  """BYOL without a teacher: the predictor and the stopped gradient keep it from collapsing."""

  teacher_momentum: None = dataclasses.field(default=None, init=False)
  forward_spec: ForwardSpec = dataclasses.field(default=ForwardSpec(student=(ViewSlice("global", 0, 2),)), init=False)
  init_memory = staticmethod(no_memory)
  remember = staticmethod(remember_nothing)

  def loss(self, student: Outputs, teacher: Outputs | None, memory: None, step: Array) -> tuple[Array, Logs]:
    """Negative cosine similarity, averaged over both directions (SimSiam, eq. 1-4)."""
    targets = jax.lax.stop_gradient(normalize(student.projection[::-1]))
    return 0.5 * cosine_distance(normalize(student.prediction), targets) - 1.0, {}
