"""Linear classifiers trained side by side by stochastic gradient descent, on frozen features or together with the encoder."""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jaxssl.config.schema import FinetuneConfig, LinearConfig
from jaxssl.core.errors import UserError
from jaxssl.core.rng import generator
from jaxssl.core.types import Array, PyTree, Variables
from jaxssl.evals import crops
from jaxssl.evals.features import FeatureExtractor
from jaxssl.parallel.mesh import global_rows, local_slice, replicate


def cross_entropy(heads: Array, x: Array, labels: Array) -> Array:
  """Sums the mean cross-entropies of g classifiers [g, f + 1, c], whose last row is the bias; x: [b, f]; labels: int [b]."""
  scores = jnp.einsum("bf,gfc->bgc", x, heads[:, :-1]) + heads[None, :, -1]
  labels = jnp.broadcast_to(labels[:, None], scores.shape[:2])
  return optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean(0).sum()


def cosine(rate: float | Array, steps: int) -> optax.GradientTransformation:
  """Returns SGD with momentum 0.9 and a cosine schedule without warm-up; rate: one, or [g, 1, 1] of g classifiers."""
  return optax.sgd(optax.cosine_decay_schedule(rate, steps), momentum=0.9)  # type: ignore[arg-type]


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


def crops_trainer(
  extractor: FeatureExtractor,
  config: LinearConfig | FinetuneConfig,
  count: int,
  optimizer: Callable[[int], optax.GradientTransformation],
) -> Callable[..., Any]:
  """Returns a function (rows, seed, parameters, statistics) that trains on new crops of reference images in each epoch.

  rows: int [count]; parameters: "heads", the classifiers, and "encoder" to train it as well; statistics: those of the encoder,
  then. optimizer: called with the number of steps. Raises UserError if there are fewer images than devices.
  """
  mesh, network, view = extractor.mesh, extractor.network, crops.view_of(extractor, count=1)
  batch_size = min(config.batch_size, count) // mesh.size * mesh.size
  if not batch_size:
    raise UserError(f"{count} labeled images are fewer than the {mesh.size} devices; use more images")
  steps = count // batch_size  # an incomplete batch is dropped

  def loss(params: PyTree, stats: PyTree, batch: tuple, data: tuple) -> tuple[Array, PyTree]:
    (number, index, labels, cut), (variables, store, key) = batch, data
    view_key, pass_key = jax.random.split(jax.random.fold_in(key, number))
    images = crops.finish(view, extractor.preprocessing, index, cut, store, view_key)
    if "encoder" not in params:
      return cross_entropy(params["heads"], network.encode(variables, images[:, 0]), labels), stats
    outputs, stats = network.apply(Variables(params=params, stats=stats), [images], joint=False, key=pass_key)
    return cross_entropy(params["heads"], outputs.features[0], labels), stats

  def batches(rows: np.ndarray, seed: int) -> Iterator[tuple]:
    for epoch in range(config.epochs):
      order = generator(seed, "finetune", epoch).permutation(rows)[: steps * batch_size]
      order = order.reshape(steps, batch_size).astype(np.int32)[:, local_slice(mesh, batch_size)]
      for number, (index, cut) in enumerate(crops.cut(extractor, order, view, seed, epoch), epoch * steps):
        yield number, *global_rows(mesh, (index, extractor.reference.labels[index], cut))

  train = trainer(loss, optimizer(steps * config.epochs), mesh)

  def fit(rows: np.ndarray, seed: int, params: PyTree, stats: PyTree = None) -> tuple[Any, Any]:
    data = (extractor.variables, extractor.datasets.reference.resident, replicate(mesh, jax.random.key(seed)))
    return train(params, batches(rows, seed), data, stats)

  return fit
