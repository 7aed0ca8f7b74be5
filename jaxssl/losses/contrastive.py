"""Contrastive losses: a query finds its positive among negatives."""

import jax
import jax.numpy as jnp

from jaxssl.core.types import Array
from jaxssl.ops.nearest import dot


def in_batch(queries: Array, keys: Array, temperature: float) -> Array:
  """Returns the mean cross-entropy of finding key i by query i among all keys (InfoNCE, arXiv 1807.03748, eq. 4).

  queries, keys: float32 [b, d], unit length.
  """
  return -jnp.mean(jnp.diagonal(jax.nn.log_softmax(dot(queries, keys) / temperature, axis=-1)))


def against_queue(queries: Array, keys: Array, queue: Array, temperature: float) -> Array:
  """Returns the mean cross-entropy of finding key i by query i among it and the queue (MoCo, arXiv 1911.05722, eq. 1).

  queries, keys: float32 [b, d]; queue: float32 [n, d]; all of unit length.
  """
  positive = jnp.sum(queries * keys, axis=-1, keepdims=True) / temperature
  negatives = dot(queries, queue) / temperature
  return jnp.mean(jnp.logaddexp(positive[:, 0], jax.nn.logsumexp(negatives, axis=-1)) - positive[:, 0])


def nt_xent(projections: Array, temperature: float) -> Array:
  """Returns the normalized temperature-scaled cross-entropy over two views (SimCLR, arXiv 2002.05709, eq. 1).

  projections: float32 [2, b, d], unit length. Every row looks for the same image's other view among all other rows.
  """
  rows = projections.reshape(-1, projections.shape[-1])
  scores = jnp.where(jnp.eye(len(rows), dtype=bool), -jnp.inf, dot(rows, rows) / temperature)
  other = jnp.roll(jnp.arange(len(rows)), len(rows) // 2)
  return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(scores, axis=-1), other[:, None], axis=1))
