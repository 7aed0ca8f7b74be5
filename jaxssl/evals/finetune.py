"""Training with labels on random crops: of the whole network, or of linear classifiers on the frozen encoder."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxssl.augment import pipeline
from jaxssl.config.schema import ViewConfig
from jaxssl.core.errors import UserError
from jaxssl.core.metric import Measurement, Scalar, accuracy_metric
from jaxssl.core.rng import generator
from jaxssl.core.types import Array, PyTree, Variables, struct
from jaxssl.data import input_pipeline
from jaxssl.data.datasets import Dataset, in_order
from jaxssl.evals import heads
from jaxssl.evals.features import FeatureExtractor, by_group, extract, labeled_test
from jaxssl.evals.preprocessing import Preprocessing, method_views
from jaxssl.evals.registry import evaluation
from jaxssl.models.network import Network
from jaxssl.parallel.mesh import global_rows, local_slice, padded_rows, replicate, to_host

GROUP = "weak"  # the view group that holds the crops


@struct
class Tuned:
  """The trained arrays."""

  heads: Array  # [g, f + 1, c], one classifier for each learning rate; the last row is the bias
  encoder: PyTree
  stats: PyTree  # the encoder's batch statistics


def two_crops(extractor: FeatureExtractor, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Computes the features of two random crops of some images of the reference set: float32 [n, f] each."""
  split, mesh = extractor.splits.reference, extractor.mesh
  assert extractor.variables is not None
  view = crops_of(extractor, count=2)
  size = padded_rows(min(extractor.config.evals.batch_size, len(rows)), mesh)
  padded = np.resize(rows, -(-len(rows) // size) * size).reshape(-1, size).astype(np.int32)
  found = []
  for index, crops in _batches(extractor, padded, view, 0, 0):
    on_devices = global_rows(mesh, (index, crops))
    made = _encode_crops(extractor.network, view, extractor.preprocessing, extractor.variables, *on_devices, split.resident)
    found.append(to_host(mesh, made))
  one, other = np.concatenate(found)[: len(rows)].swapaxes(0, 1)
  return one, other


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _encode_crops(
  network: Network,
  view: ViewConfig,
  preprocessing: Preprocessing,
  variables: Variables,
  index: Array,
  crops: Array | None,
  store: Array | None,
) -> Array:
  """Computes features [b, v, f] of v crops of each image."""
  key = jax.random.fold_in(jax.random.key(0), index[0])
  images = _finished(view, preprocessing, index, crops, store, key)
  return jnp.stack([network.encode(variables, images[:, i]) for i in range(view.count)], axis=1)


def crops_of(extractor: FeatureExtractor, count: int) -> ViewConfig:
  """Returns the student's first view group at the size that evaluations use; `_finished` leaves out its colors."""
  return dataclasses.replace(
    extractor.config.views[method_views(extractor.config)],
    count=count,
    size=extractor.preprocessing.size,
    partner=(False,),
  )


def _batches(
  extractor: FeatureExtractor, order: np.ndarray, view: ViewConfig, seed: int, epoch: int
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
  """Yields (rows, crops) of this process's part of batches of the reference set; crops are None if the device cuts them.

  order: int32 [steps, b].
  """
  split, workers = extractor.splits.reference, extractor.config.data.workers
  order = order[:, local_slice(extractor.mesh, order.shape[1])]
  if split.resident is not None:
    yield from ((index, None) for index in order)
    return
  with input_pipeline.training(split.source, order, order, {GROUP: view}, seed, epoch, 0, workers) as batches:
    yield from ((index, crops[GROUP]) for index, _, crops in batches)


def _finished(
  view: ViewConfig, preprocessing: Preprocessing, index: Array, crops: Array | None, store: Array | None, key: Array
) -> Array:
  """Returns the views [b, v, h, w, c] of images of the reference set."""
  cut_key, finish_key = jax.random.split(key)
  if crops is None:
    assert store is not None
    crops = pipeline.crop(cut_key, jnp.stack([store[index]] * 2, axis=1), {GROUP: view})[GROUP]
  mean, std = preprocessing.mean, preprocessing.std
  return pipeline.finish(finish_key, {GROUP: crops}, {GROUP: view}, mean, std, geometric_only=True)[GROUP]


class Tuning:
  """SGD with momentum 0.9 and a cosine schedule on random crops; compiled once for any number of draws.

  `rates`: learning rates of classifiers that are trained side by side; `encoder_rate`: that of the encoder; 0 freezes it,
  with its running statistics.
  """

  def __init__(
    self,
    extractor: FeatureExtractor,
    rates: tuple[float, ...],
    encoder_rate: float,
    epochs: int,
    batch_size: int,
    decay: float = 0.0,
  ):
    assert extractor.variables is not None
    if encoder_rate and len(rates) > 1:
      raise ValueError("an encoder can be trained with one classifier only")
    self.extractor, self.rates, self.encoder_rate = extractor, rates, encoder_rate
    self.epochs, self.batch_size, self.decay = epochs, batch_size, decay
    self.view = crops_of(extractor, count=1)
    self.optimizer = optax.chain(optax.add_decayed_weights(decay), optax.trace(0.9))
    self.step, self.score = jax.jit(self._step, donate_argnums=0), jax.jit(self._score)

  def fit(self, rows: np.ndarray, seed: int) -> Tuned:
    """Trains on some rows of the reference set. Raises UserError if they are fewer than the devices."""
    extractor, mesh = self.extractor, self.extractor.mesh
    assert extractor.variables is not None
    labels = extractor.reference.labels
    batch_size = min(self.batch_size, len(rows)) // mesh.size * mesh.size
    if not batch_size:
      raise UserError(f"{len(rows)} labeled images are fewer than the {mesh.size} devices; use more images")
    steps = len(rows) // batch_size
    width = extractor.reference.x.shape[1]
    stats = extractor.variables.stats.get("encoder", {})
    tuned = Tuned(
      heads=jnp.zeros((len(self.rates), width + 1, len(extractor.classes))),
      encoder=jax.tree.map(jnp.copy, extractor.variables.params["encoder"]),
      stats=jax.tree.map(jnp.copy, stats),
    )
    carry = replicate(mesh, (tuned, self.optimizer.init(self._trained(tuned)), jnp.int32(0)))
    for epoch in range(self.epochs):
      order = generator(seed, "finetune", epoch).permutation(rows)[: steps * batch_size]
      order = order.reshape(steps, batch_size).astype(np.int32)
      for index, crops in _batches(extractor, order, self.view, seed, epoch):
        carry = self.step(
          carry,
          *global_rows(mesh, (index, labels[index], crops)),
          extractor.splits.reference.resident,
          *replicate(mesh, (jax.random.key(seed), jnp.float32(steps * self.epochs))),
        )
    return carry[0]

  def _trained(self, tuned: Tuned) -> dict[str, PyTree]:
    return {"heads": tuned.heads, **({"encoder": tuned.encoder} if self.encoder_rate else {})}

  def _step(
    self, carry: tuple, index: Array, labels: Array, crops: Array | None, store: Array | None, key: Array, steps: Array
  ) -> tuple:
    tuned, state, number = carry
    view_key, pass_key = jax.random.split(jax.random.fold_in(key, number))
    views = _finished(self.view, self.extractor.preprocessing, index, crops, store, view_key)

    def loss(trained: dict[str, PyTree]) -> tuple[Array, PyTree]:
      encoder = trained.get("encoder", tuned.encoder)
      variables = Variables(params={"encoder": encoder}, stats={"encoder": tuned.stats} if tuned.stats else {})
      if self.encoder_rate:
        outputs, stats = self.extractor.network.apply(variables, [views], joint=False, key=pass_key)
        features = outputs.features[0]
      else:
        features, stats = self.extractor.network.encode(variables, views[:, 0]), variables.stats
      return heads.loss(trained["heads"], features, labels), stats.get("encoder", {})

    trained = self._trained(tuned)
    gradient, stats = jax.grad(loss, has_aux=True)(trained)
    moves, state = self.optimizer.update(gradient, state, trained)
    updates: Any = moves
    rate = heads.cosine(number, steps)
    new_heads = tuned.heads - rate * jnp.asarray(self.rates)[:, None, None] * updates["heads"]
    encoder = tuned.encoder
    if self.encoder_rate:
      encoder = jax.tree.map(lambda p, u: p - rate * self.encoder_rate * u, encoder, updates["encoder"])
    return Tuned(heads=new_heads, encoder=encoder, stats=stats), state, number + 1

  def logits(self, tuned: Tuned, split: Dataset) -> np.ndarray:
    """Computes float32 [n, g, c] of every image of a split."""
    extractor = self.extractor
    images = in_order(extractor.config, extractor.mesh, split, extractor.preprocessing.size)
    return extract(extractor.mesh, lambda x: self.score(tuned, x, split.resident), images)

  def _score(self, tuned: Tuned, images: Array, store: Array | None) -> Array:
    variables = Variables(params={"encoder": tuned.encoder}, stats={"encoder": tuned.stats} if tuned.stats else {})
    return heads.logits(
      tuned.heads, self.extractor.network.encode(variables, self.extractor.preprocessing.on_device(images, store))
    )


FINETUNE = accuracy_metric("finetune", "Fine-tuned", "Accuracy after the whole network was trained further with labels.")


@evaluation("finetune", labels=True, test_set=True)
def measure(extractor: FeatureExtractor) -> list[Measurement]:
  """Measures top-1 accuracy in percent on the test set after training with all labels of the reference set."""
  reference, test = extractor.reference, labeled_test(extractor, "finetune")
  right = guess(make(extractor), np.arange(len(reference.x)), extractor.config.train.seed) == test.labels
  fields = {**protocol(extractor), **reference.protocol, **test.protocol}
  return [
    Measurement(metric=metric, value=value, subject=extractor.subject, protocol={**fields, **more})
    for metric, value, more in by_group(FINETUNE, right, test.labels, extractor.class_groups)
  ]


def make(extractor: FeatureExtractor) -> Tuning:
  """Prepares the training that `evals.finetune` describes. Raises UserError for raw pixels."""
  if extractor.variables is None:
    raise UserError("finetune needs a network; raw pixels have none")
  config = extractor.config.evals.finetune
  return Tuning(extractor, (config.head_lr,), config.lr, config.epochs, config.batch_size, config.weight_decay)


def guess(tuning: Tuning, rows: np.ndarray, seed: int) -> np.ndarray:
  """Fine-tunes on some rows of the reference set and returns the classes of the test set: int [m]."""
  test = tuning.extractor.splits.test
  assert test is not None
  return tuning.logits(tuning.fit(rows, seed), test)[:, 0].argmax(1)


def protocol(extractor: FeatureExtractor) -> dict[str, Scalar]:
  """Returns what defines the training."""
  config = extractor.config.evals.finetune
  fields: dict[str, Scalar] = {"classifier": "fine-tuned network, SGD, momentum 0.9, cosine, random crops"}
  return fields | {
    "epochs": config.epochs,
    "batch_size": config.batch_size,
    "encoder_learning_rate": config.lr,
    "head_learning_rate": config.head_lr,
    "weight_decay": config.weight_decay,
  }
