"""SimSiam: each view's prediction approaches the other view's projection, which gets no gradient (arXiv 2011.10566)."""

import dataclasses

import jax

from jaxssl.methods.base import Passes, Views, no_memory, remember_nothing
from jaxssl.ops.distillation import cosine_distance
from jaxssl.ops.similarity import normalize
from jaxssl.types import Array, Logs, Outputs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simsiam:
  """BYOL without a teacher: the predictor and the stopped gradient keep it from collapsing."""

  momentum: None = dataclasses.field(default=None, init=False)
  passes: Passes = dataclasses.field(default=Passes(online=(Views("global", 0, 2),)), init=False)
  init_memory = staticmethod(no_memory)
  remember = staticmethod(remember_nothing)

  def loss(self, online: Outputs, teacher: Outputs | None, memory: None, step: Array) -> tuple[Array, Logs]:
    """Negative cosine similarity, averaged over both directions (SimSiam, eq. 1-4)."""
    targets = jax.lax.stop_gradient(normalize(online.projection[::-1]))
    return 0.5 * cosine_distance(normalize(online.prediction), targets) - 1.0, {}
