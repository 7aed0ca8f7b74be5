"""Fine-tuning: training of the whole network with labels, on random crops."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxssl.core.errors import UserError
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
  reference, test = extractor.reference, labeled_test(extractor, "finetune")
  tuning = Tuning(extractor)
  guesses = tuning.guess(np.arange(len(reference.x)), extractor.config.train.seed)
  return accuracies(extractor, FINETUNE, guesses, test.labels, {**tuning.protocol, **reference.protocol, **test.protocol})


class Tuning:
  """The training that `evals.finetune` describes; compiled once for any number of draws. Raises UserError for raw pixels."""

  def __init__(self, extractor: FeatureExtractor):
    if extractor.variables is None:
      raise UserError("finetune needs a network; raw pixels have none")
    self.extractor, self.config = extractor, extractor.config.evals.finetune
    self.view = crops.view_of(extractor, count=1)
    rates = {"heads": self.config.head_lr, "encoder": self.config.lr}
    each = {name: optax.sgd(rate, momentum=0.9) for name, rate in rates.items()}
    optimizer = optax.partition(each, {name: name for name in rates})
    self.sgd = sgd.SGD(self._loss, optax.chain(optax.add_decayed_weights(self.config.weight_decay), optimizer))

  @property
  def protocol(self) -> dict[str, Scalar]:
    """What defines the training."""
    return {
      "classifier": "fine-tuned network, SGD, momentum 0.9, cosine, random crops",
      "epochs": self.config.epochs,
      "batch_size": self.config.batch_size,
      "encoder_learning_rate": self.config.lr,
      "head_learning_rate": self.config.head_lr,
      "weight_decay": self.config.weight_decay,
    }

  def guess(self, rows: np.ndarray, seed: int) -> np.ndarray:
    """Fine-tunes on some rows of the reference set and returns the classes of the test set: int [m]."""
    extractor, mesh, datasets = self.extractor, self.extractor.mesh, self.extractor.datasets
    assert extractor.variables is not None and datasets.test is not None
    epochs, batch_size = self.config.epochs, self.config.batch_size
    batches, steps = crops.labeled_batches(extractor, rows, self.view, seed, epochs, batch_size)
    heads = jnp.zeros((1, extractor.reference.x.shape[1] + 1, len(extractor.classes)))
    encoder, stats = jax.tree.map(jnp.copy, (_encoder(extractor.variables.params), _encoder(extractor.variables.stats)))
    start = replicate(mesh, self.sgd.init({"heads": heads, **encoder}, stats))
    data = (datasets.reference.resident, replicate(mesh, jax.random.key(seed)))
    params, stats = self.sgd.fit(start, batches, steps, data)
    variables = Variables(params=_encoder(params), stats=stats)
    x = compute(extractor.config, mesh, extractor.network, variables, datasets.test)
    return np.asarray(sgd.logits(to_host(mesh, params["heads"]), jnp.asarray(x)))[:, 0].argmax(1)

  def _loss(self, params: PyTree, stats: PyTree, batch: tuple, data: tuple, number: Array) -> tuple[Array, PyTree]:
    (index, labels, cut), (store, key) = batch, data
    view_key, pass_key = jax.random.split(jax.random.fold_in(key, number))
    views = crops.finish(self.view, self.extractor.preprocessing, index, cut, store, view_key)
    variables = Variables(params=_encoder(params), stats=stats)
    outputs, stats = self.extractor.network.apply(variables, [views], joint=False, key=pass_key)
    return sgd.loss(params["heads"], outputs.features[0], labels), stats


def _encoder(trees: Any) -> dict[str, PyTree]:
  return {name: trees[name] for name in trees if name == "encoder"}
