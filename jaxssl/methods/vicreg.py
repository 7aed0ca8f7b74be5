"""VICReg: views agree, every dimension varies, and no two vary together (arXiv 2105.04906)."""

import dataclasses

import jax.numpy as jnp

from jaxssl.methods.base import Dims, Passes, Views, remember_nothing, require_negatives
from jaxssl.ops.redundancy import covariance, dead_columns
from jaxssl.types import Array, Logs, Outputs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vicreg:
  """Weights of the three terms."""

  invariance: float = 25.0
  variance: float = 25.0  # of the mean over both views, as in the paper; where a library sums them, it counts twice
  covariance: float = 1.0
  momentum: None = dataclasses.field(default=None, init=False)
  passes: Passes = dataclasses.field(default=Passes(online=(Views("global", 0, 2),)), init=False)
  remember = staticmethod(remember_nothing)

  def init_memory(self, key: Array, dims: Dims) -> None:
    """Remembers nothing."""
    require_negatives(dims.batch)

  def loss(self, online: Outputs, teacher: Outputs | None, memory: None, step: Array) -> tuple[Array, Logs]:
    """Weighted sum of the three terms (VICReg, eq. 6), which are logged too."""
    a, b = online.prediction
    terms = {
      "invariance": jnp.mean(jnp.square(a - b)),
      "variance": 0.5 * (dead_columns(a) + dead_columns(b)),
      "covariance": covariance(a) + covariance(b),
    }
    return jnp.stack([getattr(self, name) * term for name, term in terms.items()]).sum(), terms
