"""Fine-tunes the whole network with labels, on random crops."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxssl.config.schema import FinetuneConfig
from jaxssl.core.metric import Measurement, Scalar, accuracy_metric
from jaxssl.core.types import Array, PyTree, Variables
from jaxssl.evals import crops, sgd
from jaxssl.evals.features import FeatureExtractor, accuracies, compute, labeled_test
from jaxssl.evals.registry import evaluation
from jaxssl.parallel.mesh import replicate, to_host

FINETUNE = accuracy_metric("finetune", "Fine-tuned", "Accuracy after the whole network was trained further with labels.")


@evaluation("finetune", labels=True, test_set=True)
def measure(extractor: FeatureExtractor) -> list[Measurement]:
  """Measures top-1 accuracy in percent on the test set after training with all labels of the reference set."""
  if extractor.variables is None:
    return []  # raw pixels have no network
  reference, test = extractor.reference, labeled_test(extractor)
  rows = np.arange(len(reference.x))
  guesses = trainer(extractor, len(rows))(rows, extractor.config.train.seed)
  fields = {**protocol(extractor.config.evals.finetune), **reference.protocol, **test.protocol}
  return accuracies(extractor, FINETUNE, guesses, test.labels, fields)


def protocol(config: FinetuneConfig) -> dict[str, Scalar]:
  """Returns the protocol of the training."""
  return {
    "classifier": "fine-tuned network, SGD, momentum 0.9, cosine, random crops",
    "epochs": config.epochs,
    "batch_size": config.batch_size,
    "encoder_learning_rate": config.lr,
    "head_learning_rate": config.head_lr,
    "weight_decay": config.weight_decay,
  }


def trainer(extractor: FeatureExtractor, count: int) -> Callable[[np.ndarray, int], np.ndarray]:
  """Returns a function (`count` rows of the reference set, seed) -> predicted classes of the test set, int [m]."""
  config, mesh, datasets, test = extractor.config.evals.finetune, extractor.mesh, extractor.datasets, extractor.datasets.test
  network, preprocessing, variables = extractor.network, extractor.preprocessing, extractor.variables
  view = crops.view_of(extractor, count=1)
  steps = config.epochs * crops.steps_per_epoch(mesh, count, config.batch_size)[0]
  assert variables is not None and test is not None

  def loss(params: PyTree, stats: PyTree, batch: tuple, data: tuple) -> tuple[Array, PyTree]:
    (number, index, labels, cut), (store, key) = batch, data
    view_key, pass_key = jax.random.split(jax.random.fold_in(key, number))
    views = crops.finish(view, preprocessing, index, cut, store, view_key)
    tuned = Variables(params=_encoder(params), stats=stats)
    outputs, stats = network.apply(tuned, [views], joint=False, key=pass_key)
    return sgd.cross_entropy(params["heads"], outputs.features[0], labels), stats

  each: Any = {name: sgd.cosine(rate, steps) for name, rate in (("heads", config.head_lr), ("encoder", config.lr))}
  optimizer = optax.partition(each, {name: name for name in each})
  trained = sgd.Trainer(loss, optax.chain(optax.add_decayed_weights(config.weight_decay), optimizer))

  def guess(rows: np.ndarray, seed: int) -> np.ndarray:
    batches = crops.labeled_batches(extractor, rows, view, seed, config.epochs, config.batch_size)
    heads = jnp.zeros((1, extractor.reference.x.shape[1] + 1, len(extractor.classes)))
    data = (datasets.reference.resident, replicate(mesh, jax.random.key(seed)))
    start = {"heads": heads, **_encoder(variables.params)}
    params, stats = trained.fit(start, batches, data, _encoder(variables.stats), mesh)
    x = compute(extractor.config, mesh, network, Variables(params=_encoder(params), stats=stats), test)
    return np.asarray(sgd.logits(to_host(mesh, params["heads"]), jnp.asarray(x)))[:, 0].argmax(1)

  return guess


def _encoder(trees: Any) -> dict[str, PyTree]:
  return {name: trees[name] for name in trees if name == "encoder"}
