"""Linear classifiers trained side by side by stochastic gradient descent, on frozen features or together with the encoder."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jaxssl.core.types import Array, PyTree
from jaxssl.parallel.mesh import replicate


def cross_entropy(heads: Array, x: Array, labels: Array) -> Array:
  """Sums the mean cross-entropies of g classifiers [g, f + 1, c], whose last row is the bias; x: [b, f]; labels: int [b]."""
  scores = jnp.einsum("bf,gfc->bgc", x, heads[:, :-1]) + heads[None, :, -1]
  labels = jnp.broadcast_to(labels[:, None], scores.shape[:2])
  return optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean(0).sum()


def cosine(steps: int, *rates: float) -> optax.GradientTransformation:
  """Returns SGD with momentum 0.9 and a cosine schedule without warm-up; rates: one, or that of each of g classifiers."""
  rate: Any = rates[0] if len(rates) == 1 else jnp.asarray(rates)[:, None, None]
  return optax.sgd(optax.cosine_decay_schedule(rate, steps), momentum=0.9)


def trainer(loss: Callable[..., Any], optimizer: optax.GradientTransformation, mesh: Mesh | None = None) -> Callable[..., Any]:
  """Returns a function (parameters, batches, data, statistics) -> (parameters, statistics), replicated on `mesh`.

  It takes one step per batch to minimize loss(parameters, statistics, batch, data) -> (loss, statistics); compiled once.
  """

  @functools.partial(jax.jit, donate_argnums=0)
  def step(carry: tuple, batch: PyTree, data: PyTree) -> tuple:
    params, stats, state = carry
    gradient, stats = jax.grad(loss, has_aux=True)(params, stats, batch, data)
    updates, state = optimizer.update(gradient, state, params)
    return optax.apply_updates(params, updates), stats, state

  def fit(params: PyTree, batches: Iterable[PyTree], data: PyTree, stats: PyTree = None) -> tuple[Any, Any]:
    carry = jax.tree.map(jnp.copy, (params, stats, optimizer.init(params)))  # steps overwrite it
    carry = replicate(mesh, carry) if mesh else carry
    for batch in batches:
      carry = step(carry, batch, data)
    return carry[:2]

  return fit
