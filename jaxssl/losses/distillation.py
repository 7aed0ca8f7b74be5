"""Self-distillation losses: one distribution mimics another."""

import jax
import jax.numpy as jnp

from jaxssl.core.types import Array


def cross_view_entropy(targets: Array, logits: Array) -> Array:
  """Returns the mean cross-entropy of every view's logits with every *other* view's target (DINO, arXiv 2104.14294, eq. 3).

  targets: float32 [t, b, k], distributions of the first t views; logits: float32 [v, b, k] of all v >= t views, temperature
  applied. The mean runs over the t (v - 1) ordered pairs of different views and over the batch.
  """
  log_p = jax.nn.log_softmax(logits, axis=-1)
  num_targets, num_views = targets.shape[0], logits.shape[0]
  pairs = -jnp.einsum("tbk,vbk->tv", targets, log_p, precision=jax.lax.Precision.HIGHEST) / targets.shape[1]
  other = ~jnp.eye(num_targets, num_views, dtype=bool)
  return jnp.sum(pairs, where=other) / (num_targets * (num_views - 1))


def entropy(distributions: Array) -> Array:
  """Returns the mean entropy, in nats, of distributions [..., k]."""
  return -jnp.mean(jnp.sum(jax.scipy.special.xlogy(distributions, distributions), axis=-1))


def kl_divergence(target_logits: Array, logits: Array) -> Array:
  """Returns the mean over rows of KL(softmax(target_logits) || softmax(logits)), float32 [b, n]; no gradient into targets."""
  target = jax.lax.stop_gradient(jax.nn.log_softmax(target_logits, axis=-1))
  return jnp.mean(jnp.sum(jnp.exp(target) * (target - jax.nn.log_softmax(logits, axis=-1)), axis=-1))


def cosine_distance(a: Array, b: Array) -> Array:
  """Returns the mean squared distance 2 - 2 cos of unit rows of a and b, float32 [..., d] (BYOL, arXiv 2006.07733, eq. 2)."""
  return jnp.mean(2.0 - 2.0 * jnp.sum(a * b, axis=-1))


def cross_entropy(targets: Array, logits: Array) -> Array:
  """Returns the mean over rows of the cross-entropy of softmax(logits) with targets, float32 [b, n] whose rows sum to one."""
  return -jnp.mean(jnp.sum(targets * jax.nn.log_softmax(logits, axis=-1), axis=-1))
