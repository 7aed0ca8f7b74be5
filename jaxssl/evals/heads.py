"""Linear classifiers that are trained side by side by stochastic gradients: what all probes share."""

import jax.numpy as jnp
import optax

from jaxssl.core.types import Array


def logits(heads: Array, x: Array) -> Array:
  """Maps features [b, f] to [b, g, c] by g classifiers [g, f + 1, c], whose last row is the bias."""
  return jnp.einsum("bf,gfc->bgc", x, heads[:, :-1]) + heads[None, :, -1]


def loss(heads: Array, x: Array, labels: Array) -> Array:
  """Sums the mean cross-entropies of all classifiers; labels: int [b]."""
  scores = logits(heads, x)
  return (
    optax.softmax_cross_entropy_with_integer_labels(scores, jnp.broadcast_to(labels[:, None], scores.shape[:2])).mean(0).sum()
  )


def cosine(step: Array, steps: int | Array) -> Array:
  """Returns the share of the learning rate that a cosine schedule without warm-up leaves at a step."""
  return 0.5 * (1 + jnp.cos(jnp.pi * step / steps))
