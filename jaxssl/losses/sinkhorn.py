"""Sinkhorn-Knopp: turns scores into assignments that use every column equally."""

import jax
import jax.numpy as jnp

from jaxssl.core.types import Array


def assign(scores: Array, temperature: float | Array, iterations: int) -> Array:
  """Assigns rows to columns, each row summing to one, the columns' shares nearly equal (arXiv 2006.09882, eq. 3-5).

  scores: float32 [n, m]. Returns float32 [n, m] without gradient. exp(scores / temperature) has its columns, then its rows,
  scaled to equal sums, `iterations` times. It runs in the log domain, so no score overflows.
  """

  def scale(_: int, logits: Array) -> Array:
    logits = logits - jax.nn.logsumexp(logits, axis=0, keepdims=True)
    return jax.nn.log_softmax(logits, axis=1)

  logits = jax.lax.stop_gradient(scores.astype(jnp.float32)) / temperature
  return jnp.exp(jax.lax.fori_loop(0, iterations, scale, logits))
