"""Fine-tunes the whole network with labels, on random crops."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import optax

from jaxssl.config.schedules import TrainingLength
from jaxssl.core.metric import Scalar, accuracy_metric
from jaxssl.evals import crops, gradient_descent
from jaxssl.evals.classifier import Classifier, Fitted, fits
from jaxssl.evals.features import FeatureExtractor

FINETUNE = accuracy_metric("finetune", "Fine-tuned", "Accuracy after the whole network was trained further with labels.")


@fits("finetune")
def fit(extractor: FeatureExtractor) -> Iterator[Fitted]:
  """Trains with all labels of the reference set."""
  if extractor.variables is None:
    return  # raw pixels have no network
  rows = np.arange(len(extractor.reference.x))
  classifier = trainer(extractor, len(rows))(rows, extractor.config.train.seed)
  yield Fitted(classifier, FINETUNE, protocol(extractor), {})


def protocol(extractor: FeatureExtractor) -> dict[str, Scalar]:
  """Returns the protocol of the training."""
  config = extractor.config.evals.finetune
  length = {"schedule": config.schedule.describe(), "epochs": config.epochs, "batch_size": config.batch_size}
  rates = {"encoder_learning_rate": config.lr, "head_learning_rate": config.head_lr, "weight_decay": config.weight_decay}
  cut = crops.training_protocol(crops.view_for(extractor, config.crops, config.crop_scale))
  return {"classifier": "fine-tuned network, SGD, momentum 0.9", **length, **rates, "initialization": config.init, **cut}


def trainer(extractor: FeatureExtractor, count: int) -> Callable[[np.ndarray, int], Classifier]:
  """Returns a function (`count` rows of the reference set, seed) -> classifier with a fine-tuned network."""
  config = extractor.config.evals.finetune

  def optimizer(length: TrainingLength) -> optax.GradientTransformation:
    factor = config.schedule.resolve(length, "evals.finetune.schedule")

    def sgd(rate: float) -> optax.GradientTransformation:
      return optax.sgd(lambda step: rate * factor(step), momentum=0.9)

    each: Any = {"heads": sgd(config.head_lr), "encoder": sgd(config.lr)}
    return optax.chain(optax.add_decayed_weights(config.weight_decay), optax.partition(each, {name: name for name in each}))

  tune = gradient_descent.on_crops(extractor, config, count, optimizer, tune=True)

  def train(rows: np.ndarray, seed: int) -> Classifier:
    heads, tuned = tune(rows, seed)
    return Classifier(kernel=heads[0], classes=extractor.classes, variables=tuned)

  return train
