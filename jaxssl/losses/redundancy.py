"""Losses on the statistics of features over a batch: agreement of views without redundant or dead dimensions."""

import jax.numpy as jnp
from jax.lax import Precision

from jaxssl.core.types import Array


def cross_correlation(a: Array, b: Array, epsilon: float = 1e-5) -> Array:
  """Returns correlations [d, d] of the columns of a and b, float32 [n, d] (Barlow Twins, arXiv 2103.03230, eq. 2).

  Columns are standardized as BatchNorm does it: biased variance, plus `epsilon`.
  """

  def standard(x: Array) -> Array:
    x = x - x.mean(0, keepdims=True)
    return x / jnp.sqrt(jnp.square(x).mean(0, keepdims=True) + epsilon)

  return jnp.matmul(standard(a).T, standard(b), precision=Precision.HIGHEST) / len(a)


def redundancy(correlation: Array, weight: float) -> Array:
  """Returns the sum of squares of (correlation - identity), off-diagonal terms weighted (Barlow Twins, eq. 1)."""
  diagonal = jnp.eye(len(correlation), dtype=bool)
  on = jnp.sum(jnp.square(jnp.diagonal(correlation) - 1.0))
  return on + weight * jnp.sum(jnp.square(correlation), where=~diagonal)


def variance_hinge(x: Array, epsilon: float = 1e-4) -> Array:
  """Returns the mean of max(0, 1 - std) over the columns of x [n, d], std unbiased (VICReg, arXiv 2105.04906, eq. 1)."""
  return jnp.mean(jnp.maximum(0.0, 1.0 - jnp.sqrt(jnp.var(x, axis=0, ddof=1) + epsilon)))


def covariance(x: Array) -> Array:
  """Returns the sum of squared off-diagonal covariances of the columns of x [n, d], divided by d (VICReg, eq. 4)."""
  x = x - x.mean(0, keepdims=True)
  matrix = jnp.matmul(x.T, x, precision=Precision.HIGHEST) / (len(x) - 1)
  return jnp.sum(jnp.square(matrix), where=~jnp.eye(len(matrix), dtype=bool)) / len(matrix)
