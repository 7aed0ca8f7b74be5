"""Fine-tunes the whole network with labels, on random crops."""

from collections.abc import Callable
from typing import Any

import numpy as np
import optax

from jaxssl.config.schema import FinetuneConfig
from jaxssl.core.metric import Measurement, Scalar, accuracy_metric
from jaxssl.evals import crops, linear
from jaxssl.evals.features import FeatureExtractor, accuracies, compute, evaluation, labeled_test

FINETUNE = accuracy_metric("finetune", "Fine-tuned", "Accuracy after the whole network was trained further with labels.")


@evaluation("finetune", labels=True, test_set=True, random=True)
def measure(extractor: FeatureExtractor) -> list[Measurement]:
  """Measures top-1 accuracy in percent on the test set after training with all labels of the reference set."""
  if extractor.variables is None:
    return []  # raw pixels have no network
  reference, test = extractor.reference, labeled_test(extractor)
  rows = np.arange(len(reference.x))
  guesses = trainer(extractor, len(rows))(rows, extractor.config.train.seed)
  fields = {**protocol(extractor.config.evals.finetune), **reference.protocol, **test.protocol}
  return accuracies(extractor, FINETUNE, guesses, fields)


def protocol(config: FinetuneConfig) -> dict[str, Scalar]:
  """Returns the protocol of the training."""
  length = {"epochs": config.epochs, "batch_size": config.batch_size}
  rates = {"encoder_learning_rate": config.lr, "head_learning_rate": config.head_lr, "weight_decay": config.weight_decay}
  return {"classifier": "fine-tuned network, SGD, momentum 0.9, cosine, random crops", **length, **rates}


def trainer(extractor: FeatureExtractor, count: int) -> Callable[[np.ndarray, int], np.ndarray]:
  """Returns a function (`count` rows of the reference set, seed) -> predicted classes of the test set, int [m]."""
  config, test = extractor.config.evals.finetune, extractor.datasets.test
  assert test is not None

  def optimizer(steps: int) -> optax.GradientTransformation:
    each: Any = {name: crops.cosine(steps, rate) for name, rate in (("heads", config.head_lr), ("encoder", config.lr))}
    return optax.chain(optax.add_decayed_weights(config.weight_decay), optax.partition(each, {name: name for name in each}))

  fit = crops.trainer(extractor, config, count, optimizer, tune=True)

  def guess(rows: np.ndarray, seed: int) -> np.ndarray:
    heads, tuned = fit(rows, seed)
    return linear.classify(heads[0], compute(extractor.config, extractor.mesh, extractor.network, tuned, test))

  return guess
