"""Linear classifiers trained side by side by stochastic gradient descent, on frozen features or together with the encoder."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxssl.core.types import Array, PyTree

# (parameters, batch statistics, batch, data, step number) -> (loss, new statistics)
Loss = Callable[[PyTree, PyTree, PyTree, PyTree, Array], tuple[Array, PyTree]]


def logits(heads: Array, x: Array) -> Array:
  """Maps features [b, f] to [b, g, c] by g classifiers [g, f + 1, c], whose last row is the bias."""
  return jnp.einsum("bf,gfc->bgc", x, heads[:, :-1]) + heads[None, :, -1]


def loss(heads: Array, x: Array, labels: Array) -> Array:
  """Sums the mean cross-entropies of all classifiers; labels: int [b]."""
  scores = logits(heads, x)
  each = optax.softmax_cross_entropy_with_integer_labels(scores, jnp.broadcast_to(labels[:, None], scores.shape[:2]))
  return each.mean(0).sum()


def cosine(step: int, steps: int) -> float:
  """Returns the share of the learning rate that a cosine schedule without warm-up leaves at a step."""
  return 0.5 * (1 + math.cos(math.pi * step / steps))


class SGD:
  """Minimizes a loss over batches; compiled once for any number of calls of `fit`."""

  def __init__(self, loss: Loss, optimizer: optax.GradientTransformation):
    def step(carry: tuple, batch: PyTree, data: PyTree, number: Array, share: Array) -> tuple:
      params, stats, state = carry
      gradient, stats = jax.grad(loss, has_aux=True)(params, stats, batch, data, number)
      updates, state = optimizer.update(gradient, state, params)
      return optax.apply_updates(params, jax.tree.map(lambda u: share * u, updates)), stats, state

    self._optimizer, self._step = optimizer, jax.jit(step, donate_argnums=0)

  def init(self, params: PyTree, stats: PyTree = None) -> tuple:
    """Returns what `fit` starts from."""
    return params, stats, self._optimizer.init(params)

  def fit(
    self, start: tuple, batches: Iterable[PyTree], steps: int, data: PyTree, share: Callable[[int, int], float] = cosine
  ) -> tuple[Any, Any]:
    """Takes one step for each of `steps` batches; returns parameters and statistics. Overwrites `start`.

    `data`: arrays that all batches use; `share(step, steps)`: factor on the optimizer's updates.
    """
    for number, batch in enumerate(batches):
      start = self._step(start, batch, data, number, share(number, steps))
    return start[0], start[1]
