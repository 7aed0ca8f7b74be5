"""Two measures of collapse that are cheap enough for every step."""

import jax
import jax.numpy as jnp

from jaxssl.core.types import Array
from jaxssl.ops.nearest import normalize


def collapse_metrics(x: Array) -> tuple[Array, Array]:
  """Returns the deviation and the rank of the directions of x [b, d], float32 scalars without gradient.

  Deviation: sqrt(d) times the mean deviation of a dimension; 1: spread evenly over the sphere, 0: all the same (SimSiam,
  arXiv 2011.10566, section 4.1). Rank: the participation ratio (sum e)^2 / sum e^2 of the eigenvalues e of the directions'
  covariance, at most min(b - 1, d): how many dimensions they vary in; 1 if they do not vary.
  """
  unit = normalize(jax.lax.stop_gradient(x))
  centered = unit - unit.mean(0, keepdims=True)
  variances = jnp.mean(centered**2, axis=0)
  smaller = centered.T @ centered if x.shape[0] > x.shape[1] else centered @ centered.T
  total = variances.sum() * len(x)
  squares = jnp.sum(smaller**2)
  rank = jnp.where(squares > 0, total**2 / jnp.where(squares > 0, squares, 1.0), 1.0)
  return jnp.sqrt(x.shape[1]) * jnp.mean(jnp.sqrt(variances)), rank
