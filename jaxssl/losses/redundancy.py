"""Losses on the statistics of features over a batch: agreement of views without redundant or dead dimensions."""

import jax.numpy as jnp
from jax.lax import Precision

from jaxssl.core.types import Array


def cross_correlation(a: Array, b: Array, epsilon: float = 1e-5) -> Array:
  """Correlations [d, d] over the batch between the columns of a and b, float32 [n, d] (Barlow Twins, arXiv 2103.03230, eq. 2).

  Columns are standardized as BatchNorm does it: biased variance, plus `epsilon`.
  """

  def standard(x: Array) -> Array:
    x = x - x.mean(0, keepdims=True)
    return x / jnp.sqrt(jnp.square(x).mean(0, keepdims=True) + epsilon)

  return jnp.matmul(standard(a).T, standard(b), precision=Precision.HIGHEST) / len(a)


def redundancy(correlation: Array, weight: float) -> Array:
  """Sum of squares of (correlation - identity), off-diagonal terms weighed (Barlow Twins, eq. 1)."""
  diagonal = jnp.eye(len(correlation), dtype=bool)
  on = jnp.sum(jnp.square(jnp.diagonal(correlation) - 1.0))
  return on + weight * jnp.sum(jnp.square(correlation), where=~diagonal)


def variance_hinge(x: Array, epsilon: float = 1e-4) -> Array:
  """Mean over the columns of max(0, 1 - std), float32 [n, d] (VICReg, arXiv 2105.04906, eq. 1); unbiased variance + epsilon."""
  return jnp.mean(jnp.maximum(0.0, 1.0 - jnp.sqrt(jnp.var(x, axis=0, ddof=1) + epsilon)))


def covariance(x: Array) -> Array:
  """Sum of squared off-diagonal covariances of the columns, divided by their number (VICReg, eq. 4); x: float32 [n, d]."""
  x = x - x.mean(0, keepdims=True)
  matrix = jnp.matmul(x.T, x, precision=Precision.HIGHEST) / (len(x) - 1)
  return jnp.sum(jnp.square(matrix), where=~jnp.eye(len(matrix), dtype=bool)) / len(matrix)
