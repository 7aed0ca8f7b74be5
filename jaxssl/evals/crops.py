"""Random crops of reference images, cut as the student's first view but without its color changes; training by SGD."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jaxssl.augment import pipeline
from jaxssl.config.schema import FinetuneConfig, LinearConfig, ViewConfig
from jaxssl.core import UserError
from jaxssl.core.metric import Scalar
from jaxssl.core.rng import generator
from jaxssl.core.types import Array, PyTree, Variables
from jaxssl.data import input_pipeline
from jaxssl.evals import raw_pixels
from jaxssl.evals.features import FeatureExtractor, extract, in_batches
from jaxssl.evals.preprocessing import Preprocessing, first_view
from jaxssl.models.network import Network
from jaxssl.parallel import preemption
from jaxssl.parallel.mesh import global_rows, local_slice, replicate, to_host

GROUP = "weak"  # the view group that holds the crops


def view_of(extractor: FeatureExtractor, count: int) -> ViewConfig:
  """Returns the student's first view group at the size that evaluations use; `finish` leaves out its color changes."""
  view = first_view(extractor.config)
  return dataclasses.replace(view, count=count, size=extractor.preprocessing.size, partner=(False,))


def crop_protocol(extractor: FeatureExtractor) -> dict[str, Scalar]:
  """Returns the part of a protocol that says how crops are cut."""
  view = view_of(extractor, count=1)
  (low, high), (flat, wide) = view.crop_scale, view.crop_ratio
  protocol: dict[str, Scalar] = {"crop_area": f"{low:g} to {high:g}", "crop_ratio": f"{flat:.3g} to {wide:.3g}"}
  return protocol | ({"affine": view.affine} if view.affine else {})


def random_crops(extractor: FeatureExtractor, rows: np.ndarray, count: int) -> np.ndarray:
  """Computes the features, or raw pixels, of random crops of some images of the reference set: float32 [count, n, f]."""
  view, config = view_of(extractor, count=2), extractor.config  # two at a time, so that every count is compiled once
  index = in_batches(extractor.mesh, len(rows), config.evals.batch_size)
  resident = extractor.datasets.reference.resident
  pairs = []
  for draw in range(-(-count // 2)):
    crops = cut(extractor, rows[index].astype(np.int32), view, seed=0, epoch=draw)
    encode = functools.partial(_encode, extractor.network, view, extractor.preprocessing, extractor.variables, resident, draw)
    pairs.append(extract(extractor.mesh, encode, crops, len(rows)).swapaxes(0, 1))
  return np.concatenate(pairs)[:count]


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _encode(
  network: Network,
  view: ViewConfig,
  prep: Preprocessing,
  variables: Variables | None,
  store: Array | None,
  draw: int,
  batch: tuple,
) -> Array:
  index, crops = batch
  prep = raw_pixels.preprocessing(prep, prep.size) if variables is None else prep
  images = finish(view, prep, index, crops, store, jax.random.fold_in(jax.random.key(draw), index[0]))
  if variables is None:
    side = min(view.size, raw_pixels.OF_IMAGE)
    return jax.image.resize(images, (*images.shape[:2], side, side, images.shape[-1]), "cubic").reshape(*images.shape[:2], -1)
  return jnp.stack([network.encode(variables, images[:, i]) for i in range(view.count)], axis=1)


def cut(
  extractor: FeatureExtractor, order: np.ndarray, view: ViewConfig, seed: int, epoch: int
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
  """Yields (rows, crops) for each of this process's batches of reference images, int32 [steps, b]."""
  dataset = extractor.datasets.reference
  if dataset.resident is not None:
    yield from ((index, None) for index in order)
    return
  workers = extractor.config.data.workers
  with input_pipeline.training(dataset.source, order, order, {GROUP: view}, seed, epoch, 0, workers) as batches:
    yield from ((index, crops[GROUP]) for index, _, crops in batches)


def finish(
  view: ViewConfig, preprocessing: Preprocessing, index: Array, crops: Array | None, store: Array | None, key: Array
) -> Array:
  """Returns views [b, v, h, w, c], normalized, from crops that the host has cut, or of rows of resident images."""
  cut_key, finish_key = jax.random.split(key)
  if crops is None:
    assert store is not None
    crops = pipeline.crop(cut_key, jnp.stack([store[index]] * 2, axis=1), {GROUP: view})[GROUP]
  mean, std = preprocessing.mean, preprocessing.std
  return pipeline.finish(finish_key, {GROUP: crops}, {GROUP: view}, mean, std, geometric_only=True)[GROUP]


def trainer(
  extractor: FeatureExtractor,
  config: LinearConfig | FinetuneConfig,
  count: int,
  optimizer: Callable[[int], optax.GradientTransformation],
  heads: int = 1,
  tune: bool = False,
) -> Callable[[np.ndarray, int], tuple[np.ndarray, Variables]]:
  """Returns a function that trains classifiers on `count` rows of the reference set, with new crops in each epoch.

  Its arguments are the rows and a seed; it returns classifiers [heads, f + 1, c] and the network's variables, of which the
  encoder is trained as well with `tune`. optimizer: called with the number of steps; its parameters are "heads" and "encoder".
  Raises UserError if there are fewer images than devices.
  """
  mesh, view, variables = extractor.mesh, view_of(extractor, count=1), extractor.variables
  network = extractor.network.ungrouped()  # a batch may have any size
  assert variables is not None
  batch_size = min(config.batch_size, count) // mesh.size * mesh.size
  if not batch_size:
    raise UserError(f"{count} labeled images are fewer than the {mesh.size} devices; use more images")
  steps = count // batch_size  # an incomplete batch is dropped
  start = {"heads": jnp.zeros((heads, extractor.reference.x.shape[1] + 1, len(extractor.classes)))}
  start |= {"encoder": variables.params["encoder"]} if tune else {}

  def loss(params: PyTree, stats: PyTree, batch: tuple, data: tuple) -> tuple[Array, PyTree]:
    (number, index, labels, crops), (frozen, store, seed) = batch, data
    view_key, pass_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), number))
    images = finish(view, extractor.preprocessing, index, crops, store, view_key)
    if not tune:
      return cross_entropy(params["heads"], network.encode(frozen, images[:, 0]), labels), stats
    outputs, stats = network.apply(Variables(params=params, stats=stats), [images], joint=False, key=pass_key)
    return cross_entropy(params["heads"], outputs.features[0], labels), stats

  def batches(rows: np.ndarray, seed: int) -> Iterator[tuple]:
    for epoch in range(config.epochs):
      order = generator(seed, "finetune", epoch).permutation(rows)[: steps * batch_size]
      order = order.reshape(steps, batch_size).astype(np.int32)[:, local_slice(mesh, batch_size)]
      for number, (index, crops) in enumerate(cut(extractor, order, view, seed, epoch), epoch * steps):
        yield number, *global_rows(mesh, (index, extractor.reference.labels[index], crops))

  train = descent(loss, optimizer(steps * config.epochs), mesh)

  def fit(rows: np.ndarray, seed: int) -> tuple[np.ndarray, Variables]:
    data = (variables, extractor.datasets.reference.resident, replicate(mesh, np.uint32(seed % 2**32)))  # as keys wrap it
    params, stats = train(start, batches(rows, seed), data, variables.stats)
    return to_host(mesh, params["heads"]), Variables(params={**variables.params, **params}, stats=stats)

  return fit


def cross_entropy(heads: Array, x: Array, labels: Array) -> Array:
  """Sums the mean cross-entropies of g classifiers [g, f + 1, c], whose last row is the bias; x: [b, f]; labels: int [b]."""
  scores = jnp.einsum("bf,gfc->bgc", x, heads[:, :-1]) + heads[None, :, -1]
  labels = jnp.broadcast_to(labels[:, None], scores.shape[:2])
  return optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean(0).sum()


def cosine(steps: int, *rates: float) -> optax.GradientTransformation:
  """Returns SGD with momentum 0.9 and a cosine schedule without warm-up; rates: one, or that of each of g classifiers."""
  rate: Any = rates[0] if len(rates) == 1 else jnp.asarray(rates)[:, None, None]
  return optax.sgd(optax.cosine_decay_schedule(rate, steps), momentum=0.9)


def descent(loss: Callable[..., Any], optimizer: optax.GradientTransformation, mesh: Mesh | None = None) -> Callable[..., Any]:
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
