"""Fits linear classifiers on frozen features by the protocols in `evals.linear.solvers`."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxssl.config.eval_schema import LinearConfig, LinearProtocol
from jaxssl.core import LOG, UserError, require
from jaxssl.core.metric import BASELINES, Scalar, accuracy_metric
from jaxssl.core.types import Array
from jaxssl.evals import crops, gradient_descent
from jaxssl.evals.classifier import Classifier, Fitted, fits, folded
from jaxssl.evals.features import MANY, FeatureExtractor
from jaxssl.evals.linear_presets import PRESETS
from jaxssl.evals.logistic import PROTOCOL, best_of, fit_raw, held_out, standardization
from jaxssl.models.network import Network
from jaxssl.ops.nearest import normalize

FEATURES = {"none": "raw", "l2": "unit length", "standardize": "standardized", "l2_standardize": "unit length, standardized"}
ABOUT = "Accuracy of a linear classifier trained on the frozen features."


def protocols(config: LinearConfig) -> dict[str, LinearProtocol | None]:
  """Returns the protocol of each solver, None for `lbfgs`. Raises UserError for impossible fields of `custom`."""
  if "custom" in config.solvers:
    require(bool(config.custom.lr), "evals.linear.custom.lr", config.custom.lr, "one learning rate or several")
    gradient_descent.check(config.custom, "evals.linear.custom")
  elif config.custom != LinearProtocol():
    LOG.info("evals.linear.custom is not used: evals.linear.solvers=%s lacks custom", ",".join(config.solvers))
  return {name: config.custom if name == "custom" else PRESETS.get(name) for name in config.solvers}


def require_foldable(config: LinearConfig) -> None:
  """Raises UserError for a solver whose classifier is not a linear layer on the encoder's features, and cannot be kept."""
  for name, protocol in protocols(config).items():
    if protocol and (protocol.normalize.startswith("l2") or protocol.blocks > 1):
      takes = "features of unit length" if protocol.blocks == 1 else f"the last {protocol.blocks} blocks"
      raise UserError(
        f"--keep: evals.linear.solvers={name} takes {takes}, so it is not a layer on the encoder; keep another solver"
      )


def check(config: LinearConfig, network: Network) -> None:
  """Raises UserError for a solver that takes more blocks than a network has."""
  for name, protocol in protocols(config).items():
    network.with_blocks(protocol.blocks if protocol else 1, f"evals.linear.solvers={name}")


@fits("linear")
def fit(extractor: FeatureExtractor) -> Iterator[Fitted]:
  """Fits a classifier on the reference set by each of `evals.linear.solvers`."""
  given = [
    (name, protocol, _input(extractor, name, protocol)) for name, protocol in protocols(extractor.config.evals.linear).items()
  ]
  for name, protocol, features in given:  # what is wrong with a protocol has been reported before one is fitted
    if protocol is None or protocol.crops == "none" or _can_crop(features, name):
      metric = accuracy_metric(f"linear_{name}", f"Linear classifier ({name})", ABOUT)
      classifier, described, chosen = _by_lbfgs(features) if protocol is None else _by_descent(features, protocol)
      yield Fitted(classifier, metric, described, chosen)


def _input(extractor: FeatureExtractor, name: str, protocol: LinearProtocol | None) -> FeatureExtractor:
  if protocol is None or protocol.blocks == 1:
    return extractor
  return extractor.with_blocks(protocol.blocks, f"evals.linear.solvers={name}")


def _can_crop(extractor: FeatureExtractor, name: str) -> bool:
  """Returns whether there is a network to pass crops through, and it is worth the time."""
  if extractor.subject in BASELINES and len(extractor.reference.x) > MANY:
    LOG.info("linear_%s: %s is not measured, since there are more than %d images to crop", name, extractor.subject, MANY)
    return False
  return extractor.variables is not None


def _by_lbfgs(extractor: FeatureExtractor) -> tuple[Classifier, Mapping[str, Scalar], Mapping[str, Scalar]]:
  reference, classes = extractor.reference, extractor.classes
  kernel, chosen = fit_raw(reference.x, reference.labels, len(classes), extractor.config.train.seed)
  return Classifier(kernel=kernel, classes=classes), PROTOCOL, chosen


class Normalization(NamedTuple):
  """What is done to features [n, f] before the classifier; mean and scale: float32 [1, f], None: not standardized."""

  unit: bool = False
  mean: np.ndarray | None = None
  scale: np.ndarray | None = None

  def __call__(self, x: Any) -> Any:
    """Returns the normalized features."""
    x = normalize(x) if self.unit else x
    return x if self.mean is None or self.scale is None else (x - self.mean) / self.scale

  def folded(self, kernel: Array | np.ndarray) -> np.ndarray:
    """Returns the classifier of features that are not standardized from one of features that are."""
    if self.mean is None or self.scale is None:
      return np.asarray(kernel, np.float32)
    return folded(kernel, self.mean[0], self.scale[0])


def normalization(kind: str, x: np.ndarray) -> Normalization:
  """Returns the normalization that `LinearProtocol.normalize` names, by the statistics of training features [n, f]."""
  unit = kind.startswith("l2")
  if kind == "standardize":
    mean, scale = standardization(x)
  elif kind == "l2_standardize":  # as ISD, whose constant is small for features of unit length
    units = np.asarray(normalize(jnp.asarray(x)))
    mean = units.mean(0, dtype=np.float64)
    scale = np.sqrt(units.var(0, dtype=np.float64, ddof=min(1, len(x) - 1)) + 1e-5)
  else:
    return Normalization(unit)
  return Normalization(unit, *(values.astype(np.float32)[None] for values in (mean, scale)))


def _by_descent(
  extractor: FeatureExtractor, protocol: LinearProtocol
) -> tuple[Classifier, Mapping[str, Scalar], Mapping[str, Scalar]]:
  """Trains with all labels by the only learning rate, or by the one of several that is best on a held-out fifth."""
  reference, classes, seed = extractor.reference, extractor.classes, extractor.config.train.seed
  prepare, rates, chosen = normalization(protocol.normalize, reference.x), protocol.lr, {}

  def trained(rates: tuple[float, ...], rows: np.ndarray) -> Array | np.ndarray:
    make = functools.partial(gradient_descent.optimizer, protocol, rates)
    if protocol.crops != "none":
      return gradient_descent.on_crops(extractor, protocol, len(rows), make, len(rates), prepare)(rows, seed)[0]
    x, labels = prepare(reference.x[rows]), reference.labels[rows]
    start = gradient_descent.first_kernels(protocol.init, (len(rates), x.shape[1] + 1, len(classes)), seed)
    return gradient_descent.on_features(x, labels, start, make, protocol.epochs, protocol.batch_size, seed)

  if len(rates) > 1:
    out, rate = held_out(reference.labels, seed), rates[len(rates) // 2]
    if out.any():
      kernels = trained(rates, np.flatnonzero(~out))
      rate = rates[best_of(kernels, prepare(reference.x[out]), reference.labels[out])]
    rates, chosen = (rate,), {"learning_rate": rate}
  kernel = prepare.folded(trained(rates, np.arange(len(reference.x)))[0])
  classifier = Classifier(kernel=kernel, classes=classes, unit=prepare.unit, blocks=protocol.blocks)
  return classifier, described(extractor, protocol), chosen


def described(extractor: FeatureExtractor, protocol: LinearProtocol) -> dict[str, Scalar]:
  """Returns all fields of a protocol that have an effect."""
  sgd, grid = protocol.optimizer == "sgd", ", ".join(f"{rate:g}" for rate in protocol.lr)
  fields: dict[str, Scalar] = {"classifier": f"SGD, momentum {protocol.momentum:g}" if sgd else "Adam"}
  fields["learning_rate"] = protocol.lr[0] if len(protocol.lr) == 1 else f"the best of {grid} on a held-out fifth"
  fields |= {"learning_rate_batch_size": protocol.lr_base_batch_size} if protocol.lr_base_batch_size else {}
  fields |= {"schedule": protocol.schedule.describe(), "weight_decay": protocol.weight_decay}
  fields |= {"epochs": protocol.epochs, "batch_size": protocol.batch_size, "initialization": protocol.init}
  fields |= {"features": FEATURES[protocol.normalize]} | ({"blocks": protocol.blocks} if protocol.blocks > 1 else {})
  if protocol.crops != "none":
    fields |= crops.training_protocol(crops.view_for(extractor, protocol.crops, protocol.crop_scale))
  return fields
