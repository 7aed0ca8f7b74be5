"""VICReg: views agree, every dimension varies, and no two vary together (arXiv 2105.04906)."""

import dataclasses

import jax.numpy as jnp

from jaxssl.core.types import Array, Logs, Outputs
from jaxssl.losses.redundancy import covariance, variance_hinge
from jaxssl.methods.base import Dims, ForwardSpec, ViewSlice, remember_nothing, require_negatives


@dataclasses.dataclass(frozen=True, kw_only=True)
class VICReg:
  """Weights of the three terms."""

  invariance: float = 25.0
  variance: float = 25.0  # of the mean over both views, as in the paper; where a library sums them, it counts twice
  covariance: float = 1.0
  teacher_momentum: None = dataclasses.field(default=None, init=False)
  forward_spec: ForwardSpec = dataclasses.field(default=ForwardSpec(student=(ViewSlice("global", 0, 2),)), init=False)
  remember = staticmethod(remember_nothing)

  def init_memory(self, key: Array, dims: Dims) -> None:
    """Remembers nothing."""
    require_negatives(dims.batch)

  def loss(self, student: Outputs, teacher: Outputs | None, memory: None, step: Array) -> tuple[Array, Logs]:
    """Weighted sum of the three terms (VICReg, eq. 6), which are logged too."""
    a, b = student.prediction
    terms = {
      "invariance": jnp.mean(jnp.square(a - b)),
      "variance": 0.5 * (variance_hinge(a) + variance_hinge(b)),
      "covariance": covariance(a) + covariance(b),
    }
    return jnp.stack([getattr(self, name) * term for name, term in terms.items()]).sum(), terms
