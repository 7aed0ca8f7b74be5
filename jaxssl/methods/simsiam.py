"""SimSiam: each view's prediction approaches the other view's projection, without gradient into it (arXiv 2011.10566)."""

import jax

from jaxssl.core.types import Array, Logs, Outputs
from jaxssl.losses.distillation import cosine_distance
from jaxssl.methods.base import TWO_VIEWS, ForwardSpec, Scheduled, SSLMethod, register
from jaxssl.ops.nearest import normalize


@register("simsiam")
class SimSiam(SSLMethod):
  """BYOL without a teacher: the predictor and the stopped gradient prevent collapse."""

  forward_spec = ForwardSpec(student=TWO_VIEWS)

  def loss(self, student: Outputs, teacher: Outputs, state: None, scheduled: Scheduled) -> tuple[Array, Logs]:
    """Returns the negative cosine similarity, averaged over both directions (SimSiam, eq. 1-4)."""
    targets = jax.lax.stop_gradient(normalize(student.projection[::-1]))
    return 0.5 * cosine_distance(normalize(student.prediction), targets) - 1.0, {}
