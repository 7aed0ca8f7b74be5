"""Fine-tuning: the whole network trained with the labels, from the learned weights."""

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
from jaxssl.core.rng import generator
from jaxssl.core.types import Array, PyTree, Variables, struct
from jaxssl.data import input_pipeline
from jaxssl.data.datasets import Dataset, in_order
from jaxssl.evals.features import FeatureExtractor, Preprocessing, by_group, extract, labeled_test, mean_of
from jaxssl.models.network import Network
from jaxssl.parallel.mesh import global_rows, local_slice, padded_rows, replicate, to_host
from jaxssl.workdir.results import Measurement

GROUP = "weak"  # the name that its views go by


@struct
class Tuned:
  """What has been trained."""

  heads: Array  # [g, f + 1, c], one classifier for each of its learning rates; the last row is the bias
  encoder: PyTree
  stats: PyTree  # the encoder's batch statistics


def two_crops(subject: FeatureExtractor, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Gives the features of two random crops of some images of the bank: float32 [n, f] each."""
  split, mesh = subject.splits.reference, subject.mesh
  assert subject.variables is not None
  view = crops_of(subject, count=2)
  size = padded_rows(min(subject.config.evals.batch_size, len(rows)), mesh)
  padded = np.resize(rows, -(-len(rows) // size) * size).reshape(-1, size).astype(np.int32)
  found = []
  for index, crops in _batches(subject, padded, view, 0, 0):
    on_devices = global_rows(mesh, (index, crops))
    made = _see_crops(subject.network, view, subject.show, subject.variables, *on_devices, split.resident)
    found.append(to_host(mesh, made))
  one, other = np.concatenate(found)[: len(rows)].swapaxes(0, 1)
  return one, other


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _see_crops(
  network: Network,
  view: ViewConfig,
  show: Preprocessing,
  variables: Variables,
  index: Array,
  crops: Array | None,
  store: Array | None,
) -> Array:
  """Features [b, v, f] of the crops of some images."""
  key = jax.random.fold_in(jax.random.key(0), index[0])
  images = _finished(view, show, index, crops, store, key)
  return jnp.stack([network.encode(variables, images[:, i]) for i in range(view.count)], axis=1)


def crops_of(subject: FeatureExtractor, count: int) -> ViewConfig:
  """Returns the run's first view group at the size of the evaluations, without partners; `_finished` leaves out its colors."""
  first = next(iter(subject.config.views.values()))
  return dataclasses.replace(first, count=count, size=subject.show.size, partner=(False,))


def _batches(
  subject: FeatureExtractor, order: np.ndarray, view: ViewConfig, seed: int, epoch: int
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
  """Goes through this process's own rows of batches of the bank, int32 [steps, b]: (rows, crops), the crops None where they
  are cut on the device.
  """
  split, workers = subject.splits.reference, subject.config.data.workers
  order = order[:, local_slice(subject.mesh, order.shape[1])]
  if split.resident is not None:
    yield from ((index, None) for index in order)
    return
  for index, _, crops in input_pipeline.training(split.source, order, order, {GROUP: view}, seed, epoch, 0, workers):
    yield index, crops[GROUP]


def _finished(
  view: ViewConfig, show: Preprocessing, index: Array, crops: Array | None, store: Array | None, key: Array
) -> Array:
  """Makes the views [b, v, h, w, c] of images of the bank."""
  cut_key, finish_key = jax.random.split(key)
  if crops is None:
    assert store is not None
    crops = pipeline.crop(cut_key, jnp.stack([store[index]] * 2, axis=1), {GROUP: view})[GROUP]
  return pipeline.finish(finish_key, {GROUP: crops}, {GROUP: view}, show.mean, show.std, geometric_only=True)[GROUP]


class Tuning:
  """SGD with momentum 0.9 and a cosine schedule on random crops; compiled once for any number of draws.

  `rates`: learning rates of classifiers that are trained side by side; `encoder_rate`: that of the encoder. 0: it is frozen,
  and runs with its running statistics.
  """

  def __init__(
    self,
    subject: FeatureExtractor,
    rates: tuple[float, ...],
    encoder_rate: float,
    epochs: int,
    batch_size: int,
    decay: float = 0.0,
  ):
    assert subject.variables is not None
    if encoder_rate and len(rates) > 1:
      raise ValueError("an encoder cannot follow several classifiers")
    self.subject, self.rates, self.encoder_rate = subject, rates, encoder_rate
    self.epochs, self.batch_size, self.decay = epochs, batch_size, decay
    self.view = crops_of(subject, count=1)
    self.optimizer = optax.chain(optax.add_decayed_weights(decay), optax.trace(0.9))
    self.step, self.score = jax.jit(self._step, donate_argnums=0), jax.jit(self._score)

  def fit(self, rows: np.ndarray, seed: int) -> Tuned:
    """Trains on some images of the bank, given by number. Raises UserError where they are fewer than the devices."""
    subject, mesh = self.subject, self.subject.mesh
    assert subject.variables is not None
    labels = subject.bank.labels
    batch_size = min(self.batch_size, len(rows)) // mesh.size * mesh.size
    if not batch_size:
      raise UserError(f"{len(rows)} labeled images are too few for {mesh.size} devices")
    steps = len(rows) // batch_size
    width = subject.bank.x.shape[1]
    stats = subject.variables.stats.get("encoder", {})
    tuned = Tuned(
      heads=jnp.zeros((len(self.rates), width + 1, subject.num_classes)),
      encoder=jax.tree.map(jnp.copy, subject.variables.params["encoder"]),
      stats=jax.tree.map(jnp.copy, stats),
    )
    carry = replicate(mesh, (tuned, self.optimizer.init(self._trained(tuned)), jnp.int32(0)))
    for epoch in range(self.epochs):
      order = (
        generator(seed, "finetune", epoch).permutation(rows)[: steps * batch_size].reshape(steps, batch_size).astype(np.int32)
      )
      for index, crops in _batches(subject, order, self.view, seed, epoch):
        carry = self.step(
          carry,
          *global_rows(mesh, (index, labels[index], crops)),
          subject.splits.reference.resident,
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
    views = _finished(self.view, self.subject.show, index, crops, store, view_key)

    def loss(trained: dict[str, PyTree]) -> tuple[Array, PyTree]:
      encoder = trained.get("encoder", tuned.encoder)
      variables = Variables(params={"encoder": encoder}, stats={"encoder": tuned.stats} if tuned.stats else {})
      if self.encoder_rate:
        outputs, stats = self.subject.network.apply(variables, [views], joint=False, key=pass_key)
        features = outputs.features[0]
      else:
        features, stats = self.subject.network.encode(variables, views[:, 0]), variables.stats
      logits = _logits(trained["heads"], features)
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.broadcast_to(labels[:, None], logits.shape[:2]))
      return losses.mean(0).sum(), stats.get("encoder", {})

    trained = self._trained(tuned)
    gradient, stats = jax.grad(loss, has_aux=True)(trained)
    moves, state = self.optimizer.update(gradient, state, trained)
    updates: Any = moves
    rate = 0.5 * (1 + jnp.cos(jnp.pi * number / steps))
    heads = tuned.heads - rate * jnp.asarray(self.rates)[:, None, None] * updates["heads"]
    encoder = tuned.encoder
    if self.encoder_rate:
      encoder = jax.tree.map(lambda p, u: p - rate * self.encoder_rate * u, encoder, updates["encoder"])
    return Tuned(heads=heads, encoder=encoder, stats=stats), state, number + 1

  def logits(self, tuned: Tuned, split: Dataset) -> np.ndarray:
    """Gives float32 [n, g, c] of every image of a split."""
    subject = self.subject
    images = in_order(subject.config, subject.mesh, split, subject.show.size)
    return extract(subject.mesh, lambda x: self.score(tuned, x, split.resident), images)

  def _score(self, tuned: Tuned, images: Array, store: Array | None) -> Array:
    variables = Variables(params={"encoder": tuned.encoder}, stats={"encoder": tuned.stats} if tuned.stats else {})
    return _logits(tuned.heads, self.subject.network.encode(variables, self.subject.show.images(images, store)))


def _logits(heads: Array, features: Array) -> Array:
  """Maps features [b, f] to [b, g, c]."""
  return jnp.einsum("bf,gfc->bgc", features, heads[:, :-1]) + heads[None, :, -1]


def measure(subject: FeatureExtractor) -> list[Measurement]:
  """Top-1 accuracy in percent on the test split, taught by all labels of the bank (`evals.finetune`)."""
  bank, queries = subject.bank, labeled_test(subject, "finetune")
  tuning = make(subject)
  right = guess(tuning, np.arange(len(bank.x)), subject.config.train.seed) == queries.labels
  return [
    Measurement(
      name=name,
      value=value,
      protocol=f"{describe(subject)}, taught by {bank.says}, queries: {queries.says}, "
      f"{mean_of(name, subject.splits.class_groups)}{subject.says}",
    )
    for name, value in by_group("finetune", right, queries.labels, subject.splits.class_groups).items()
  ]


def make(subject: FeatureExtractor) -> Tuning:
  """Prepares what `evals.finetune` asks for. Raises UserError where there is no network to tune."""
  if subject.variables is None:
    raise UserError("finetune is not possible on raw pixels")
  config = subject.config.evals.finetune
  return Tuning(subject, (config.head_lr,), config.lr, config.epochs, config.batch_size, config.weight_decay)


def guess(tuning: Tuning, rows: np.ndarray, seed: int) -> np.ndarray:
  """Fine-tunes on some rows of the bank and gives the classes of the test split: int [m]."""
  test = tuning.subject.splits.test
  assert test is not None
  return tuning.logits(tuning.fit(rows, seed), test)[:, 0].argmax(1)


def describe(subject: FeatureExtractor) -> str:
  """Names the protocol."""
  c = subject.config.evals.finetune
  return (
    f"fine-tuned for {c.epochs} epochs of batches of {c.batch_size}, SGD, momentum 0.9, cosine, learning rates {c.lr} "
    f"(encoder) and {c.head_lr} (classifier), weight decay {c.weight_decay}, the run's crops"
  )
