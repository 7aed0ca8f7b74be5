"""Linear classifiers trained side by side by stochastic gradient descent, on frozen features or together with the encoder."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jaxssl.core.types import Array, PyTree
from jaxssl.parallel.mesh import replicate

Loss = Callable[..., tuple[Array, PyTree]]  # (parameters, batch statistics, batch, data) -> (loss, new statistics)


def logits(heads: Array, x: Array) -> Array:
  """Maps features [b, f] to [b, g, c] by g classifiers [g, f + 1, c], whose last row is the bias."""
  return jnp.einsum("bf,gfc->bgc", x, heads[:, :-1]) + heads[None, :, -1]


def cross_entropy(heads: Array, x: Array, labels: Array) -> Array:
  """Sums the mean cross-entropies of all classifiers; labels: int [b]."""
  scores = logits(heads, x)
  labels = jnp.broadcast_to(labels[:, None], scores.shape[:2])
  return optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean(0).sum()


def cosine(rate: float | Array, steps: int) -> optax.GradientTransformation:
  """Returns SGD with momentum 0.9 and a cosine schedule without warm-up; rate: one, or [g, 1, 1] of g classifiers."""
  return optax.sgd(optax.cosine_decay_schedule(rate, steps), momentum=0.9)  # type: ignore[arg-type]


class Trainer:
  """Minimizes a loss by an optimizer; compiled once."""

  def __init__(self, loss: Loss, optimizer: optax.GradientTransformation):
    def step(carry: tuple, batch: PyTree, data: PyTree) -> tuple:
      params, stats, state = carry
      gradient, stats = jax.grad(loss, has_aux=True)(params, stats, batch, data)
      updates, state = optimizer.update(gradient, state, params)
      return optax.apply_updates(params, updates), stats, state

    self._init, self._step = optimizer.init, jax.jit(step, donate_argnums=0)

  def fit(
    self, params: PyTree, batches: Iterable[PyTree], data: PyTree, stats: PyTree = None, mesh: Mesh | None = None
  ) -> tuple[Any, Any]:
    """Takes one step per batch; returns parameters, replicated on `mesh`, and statistics. `data`: arrays for all batches."""
    carry = jax.tree.map(jnp.copy, (params, stats, self._init(params)))  # steps overwrite it
    carry = replicate(mesh, carry) if mesh else carry
    for batch in batches:
      carry = self._step(carry, batch, data)
    return carry[:2]
