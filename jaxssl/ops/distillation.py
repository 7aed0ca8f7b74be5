"""Self-distillation losses: one distribution mimics another."""

import jax
import jax.numpy as jnp

from jaxssl.types import Array


def cross_view_entropy(targets: Array, logits: Array) -> Array:
  """Cross-entropy of every view's logits against every *other* view's target, averaged (DINO, arXiv 2104.14294, eq. 3).

  targets: float32 [t, b, k], distributions of the first t views; logits: float32 [v, b, k] of all v >= t views, temperature
  applied. The mean runs over the t (v - 1) ordered pairs of different views and over the batch.
  """
  log_p = jax.nn.log_softmax(logits, axis=-1)
  num_targets, num_views = targets.shape[0], logits.shape[0]
  pairs = -jnp.einsum("tbk,vbk->tv", targets, log_p, precision=jax.lax.Precision.HIGHEST) / targets.shape[1]
  other = ~jnp.eye(num_targets, num_views, dtype=bool)
  return jnp.sum(pairs, where=other) / (num_targets * (num_views - 1))


def entropy(distributions: Array) -> Array:
  """Mean entropy in nats of distributions [..., k]."""
  return -jnp.mean(jnp.sum(jax.scipy.special.xlogy(distributions, distributions), axis=-1))
