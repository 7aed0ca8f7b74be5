"""VICReg: views agree, every dimension varies, and no two dimensions covary (arXiv 2105.04906)."""

import jax.numpy as jnp

from jaxssl.core.types import Array, Logs, Outputs
from jaxssl.losses.redundancy import covariance, variance_hinge
from jaxssl.methods.base import TWO_VIEWS, ForwardSpec, Scheduled, SSLMethod, register


@register("vicreg")
class VICReg(SSLMethod):
  """Weights of the three terms."""

  invariance: float = 25.0  # weight of the squared distance between the views
  variance: float = 25.0  # of the mean over both views, as in the paper; libraries that sum them count it twice
  covariance: float = 1.0  # weight of the off-diagonal covariance
  forward_spec = ForwardSpec(student=TWO_VIEWS)
  needs_negatives = True

  def loss(self, student: Outputs, teacher: Outputs, state: None, scheduled: Scheduled) -> tuple[Array, Logs]:
    """Returns the weighted sum of the three terms (VICReg, eq. 6), and logs each."""
    a, b = student.prediction
    terms = {
      "invariance": jnp.mean(jnp.square(a - b)),
      "variance": 0.5 * (variance_hinge(a) + variance_hinge(b)),
      "covariance": covariance(a) + covariance(b),
    }
    return jnp.stack([getattr(self, name) * term for name, term in terms.items()]).sum(), terms
