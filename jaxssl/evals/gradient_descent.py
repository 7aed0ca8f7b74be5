"""Trains linear classifiers by gradient descent: on stored features, or with the network on new crops in each epoch."""

import functools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jaxssl.config.eval_schema import FinetuneConfig, LinearProtocol
from jaxssl.config.schedules import TrainingLength
from jaxssl.core import UserError, require
from jaxssl.core.log import note_progress
from jaxssl.core.rng import generator
from jaxssl.core.types import Array, PyTree, Variables
from jaxssl.evals import crops
from jaxssl.evals.features import FeatureExtractor
from jaxssl.parallel import preemption
from jaxssl.parallel.mesh import global_rows, local_slice, replicate, to_host

LONG_EPOCH = 10**6  # steps; warm-ups in steps are only checked against the images
MakeOptimizer = Callable[[TrainingLength], optax.GradientTransformation]


def check(protocol: LinearProtocol | FinetuneConfig, field: str) -> None:
  """Raises UserError for a range of crops or a schedule that is impossible whatever the images are; `field`: the protocol's."""
  low, high = protocol.crop_scale
  require(low <= high, f"{field}.crop_scale", (low, high), "the smaller area first")
  protocol.schedule.resolve(TrainingLength(steps_per_epoch=LONG_EPOCH, epochs=protocol.epochs), f"{field}.schedule")


def first_kernels(init: str, shape: tuple[int, int, int], seed: int) -> np.ndarray:
  """Draws g classifiers float32 [g, f + 1, c], whose last row is the bias; init: see `LinearProtocol`. They are the same."""
  _, rows, classes = shape
  draw, kernel = generator(seed, "linear"), np.zeros((rows, classes))
  if init == "normal":
    kernel[:-1] = draw.normal(0, 0.01, (rows - 1, classes))
  elif init == "uniform":
    kernel = draw.uniform(-1, 1, (rows, classes)) / np.sqrt(rows - 1)
  return np.broadcast_to(kernel, shape).astype(np.float32)


def batches(rows: np.ndarray, seed: int, epoch: int, batch_size: int) -> np.ndarray:
  """Shuffles rows into the batches of an epoch, int32 [steps, b]; an incomplete batch is dropped."""
  steps = len(rows) // batch_size
  order = generator(seed, "finetune", epoch).permutation(rows)[: steps * batch_size]
  return order.reshape(steps, batch_size).astype(np.int32)


def optimizer(protocol: LinearProtocol, rates: tuple[float, ...], length: TrainingLength) -> optax.GradientTransformation:
  """Returns the optimizer of classifiers [g, f + 1, c], each with its own of g rates; see `LinearProtocol`."""
  factor = protocol.schedule.resolve(length, "evals.linear.custom.schedule")
  scale = protocol.batch_size / protocol.lr_base_batch_size if protocol.lr_base_batch_size else 1.0
  peaks = scale * np.asarray(rates, np.float32)[:, None, None]

  def rate(step: Any) -> Any:
    return factor(step) * peaks

  descent = optax.adam(rate) if protocol.optimizer == "adam" else optax.sgd(rate, momentum=protocol.momentum)
  return optax.chain(optax.add_decayed_weights(protocol.weight_decay), descent)


def on_features(
  x: np.ndarray, labels: np.ndarray, start: np.ndarray, make: MakeOptimizer, epochs: int, batch_size: int, seed: int
) -> Array:
  """Trains classifiers [g, f + 1, c] from `start` on features [n, f] and labels int [n]."""
  batch_size, rows = min(batch_size, len(x)), np.arange(len(x))
  order = (batch for epoch in range(epochs) for batch in batches(rows, seed, epoch, batch_size))

  def loss(heads: Array, stats: None, rows: Array, data: tuple[Array, Array]) -> tuple[Array, None]:
    return cross_entropy(heads, data[0][rows], data[1][rows]), stats

  length = TrainingLength(steps_per_epoch=len(x) // batch_size, epochs=epochs)
  return descend(loss, make(length))(jnp.asarray(start), order, (jnp.asarray(x), jnp.asarray(labels)))[0]


def on_crops(
  extractor: FeatureExtractor,
  protocol: LinearProtocol | FinetuneConfig,
  count: int,
  make: MakeOptimizer,
  heads: int = 1,
  prepare: Callable[[Array], Array] = lambda features: features,
  tune: bool = False,
) -> Callable[[np.ndarray, int], tuple[np.ndarray, Variables]]:
  """Returns a function that trains classifiers on `count` rows of the reference set, with new crops in each epoch.

  Its arguments are the rows and a seed; it returns classifiers [heads, f + 1, c] of what `prepare` makes of features, and the
  network's variables, of which the encoder is trained as well if `tune` is set. The optimizer then sees parameters with the
  keys "heads" and "encoder", else "heads". Raises UserError for fewer rows than devices.
  """
  mesh, variables = extractor.mesh, extractor.variables
  view = crops.view_for(extractor, protocol.crops, protocol.crop_scale)
  network = extractor.network.ungrouped()  # a batch may have any size
  assert variables is not None
  batch_size = min(protocol.batch_size, count) // mesh.size * mesh.size
  if not batch_size:
    raise UserError(f"{count} labeled images are fewer than the {mesh.size} devices; use more images")
  length = TrainingLength(steps_per_epoch=count // batch_size, epochs=protocol.epochs)
  shape = (heads, extractor.reference.x.shape[1] + 1, len(extractor.classes))

  def loss(params: PyTree, stats: PyTree, batch: tuple, data: tuple) -> tuple[Array, PyTree]:
    (number, index, labels, cut), (frozen, store, seed) = batch, data
    view_key, pass_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), number))
    images = crops.finish(view, extractor.preprocessing, index, cut, store, view_key)
    if not tune:
      return cross_entropy(params["heads"], prepare(network.encode(frozen, images[:, 0])), labels), stats
    outputs, stats = network.apply(Variables(params=params, stats=stats), [images], joint=False, key=pass_key)
    return cross_entropy(params["heads"], prepare(outputs.features[0]), labels), stats

  def steps(rows: np.ndarray, seed: int) -> Iterator[tuple]:
    began = time.monotonic()
    for epoch in range(length.epochs):
      order = batches(rows, seed, epoch, batch_size)[:, local_slice(mesh, batch_size)]
      for number, (index, cut) in enumerate(crops.cut(extractor, order, view, seed, epoch), epoch * length.steps_per_epoch):
        yield number, *global_rows(mesh, (index, extractor.reference.labels[index], cut))
        note_progress((number + 1) * batch_size, length.steps * batch_size, began)

  train = descend(loss, make(length), mesh)

  def fit(rows: np.ndarray, seed: int) -> tuple[np.ndarray, Variables]:
    start: dict[str, Any] = {"heads": jnp.asarray(first_kernels(protocol.init, shape, seed))}
    start |= {"encoder": variables.params["encoder"]} if tune else {}
    data = (variables, extractor.datasets.reference.resident, replicate(mesh, np.uint32(seed % 2**32)))  # as keys wrap it
    params, stats = train(start, steps(rows, seed), data, variables.stats)
    return to_host(mesh, params["heads"]), Variables(params={**variables.params, **params}, stats=stats)

  return fit


def cross_entropy(heads: Array, x: Array, labels: Array) -> Array:
  """Sums the mean cross-entropies of g classifiers [g, f + 1, c], whose last row is the bias; x: [b, f]; labels: int [b]."""
  scores = jnp.einsum("bf,gfc->bgc", x, heads[:, :-1], precision=jax.lax.Precision.HIGHEST) + heads[None, :, -1]
  labels = jnp.broadcast_to(labels[:, None], scores.shape[:2])
  return optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean(0).sum()


def descend(loss: Callable[..., Any], optimizer: optax.GradientTransformation, mesh: Mesh | None = None) -> Callable[..., Any]:
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
      preemption.check()
      carry = step(carry, batch, data)
    return carry[:2]

  return fit
