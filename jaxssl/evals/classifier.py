"""Classifiers that evaluations fit with labels: their registry, and their accuracy on the test set."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxssl.core import UserError
from jaxssl.core.metric import Measurement, Metric, Scalar
from jaxssl.core.types import Array, Variables
from jaxssl.evals.features import FeatureExtractor, accuracies, compute, evaluation, labeled_test
from jaxssl.ops.nearest import normalize


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classifier:
  """A linear classifier of the features that an encoder returns, which are not standardized.

  With `unit` or several `blocks` it is not a linear layer on the encoder, and cannot be kept.
  """

  kernel: np.ndarray  # float32 [f + 1, c]; the last row is the bias
  classes: tuple[str, ...]  # names
  variables: Variables | None = None  # of the network, if it was fine-tuned; None: it was frozen
  unit: bool = False  # takes features of unit length
  blocks: int = 1  # takes the class tokens of this many last blocks


class Fitted(NamedTuple):
  """A classifier, the metric of its accuracy, and how it was fitted: `protocol` defines that, `chosen` was selected by it."""

  classifier: Classifier
  metric: Metric
  protocol: Mapping[str, Scalar]
  chosen: Mapping[str, Scalar]


Fit = Callable[[FeatureExtractor], Iterator[Fitted]]
FITS: dict[str, Fit] = {}  # evaluation -> function that fits its classifiers, one after the other


def fits(name: str) -> Callable[[Fit], Fit]:
  """Returns a decorator of a function that fits classifiers: it registers an evaluation, which measures their accuracy."""

  def add(fit: Fit) -> Fit:
    registered = evaluation(name, labels=True, test_set=True, random=True)
    registered(lambda extractor: [m for _, found in measured(extractor, fit) for m in found])
    FITS[name] = fit
    return fit

  return add


def measured(extractor: FeatureExtractor, fit: Fit) -> Iterator[tuple[Fitted, list[Measurement]]]:
  """Yields each classifier, fitted on the reference set, and its measurements on the test set: first the accuracy in percent.

  Raises UserError if the test set has a class that the reference set lacks.
  """
  datasets = extractor.reference.protocol, labeled_test(extractor).protocol
  for fitted in fit(extractor):
    protocol = {**fitted.protocol, **datasets[0], **datasets[1]}
    yield fitted, accuracies(extractor, fitted.metric, guesses(extractor, fitted.classifier), protocol, **fitted.chosen)


def guesses(extractor: FeatureExtractor, classifier: Classifier) -> np.ndarray:
  """Returns the classes, int [m], that a classifier predicts for the test set."""
  assert extractor.test is not None
  if classifier.variables is None:
    test = extractor.test if classifier.blocks == 1 else extractor.with_blocks(classifier.blocks, "blocks").test
    assert test is not None
    return classify(classifier.kernel, normalize(jnp.asarray(test.x)) if classifier.unit else test.x)
  network, test = (extractor.config, extractor.mesh, extractor.network, classifier.variables), extractor.datasets.test
  assert test is not None
  return classify(classifier.kernel, compute(*network, test))


def classify(kernel: Array | np.ndarray, x: Array | np.ndarray) -> np.ndarray:
  """Returns the classes, int [n], of features float32 [n, f] by a classifier [f + 1, c], whose last row is the bias.

  Raises UserError if it has diverged: the largest of logits that are not finite would always be the first class.
  """
  values = np.asarray(logits(jnp.asarray(x), jnp.asarray(kernel)))
  if not np.isfinite(values).all():
    fields = "evals.linear.custom.lr, or evals.finetune.lr and head_lr"
    raise UserError(f"a classifier diverged: its logits are not finite; lower what it was trained with ({fields})")
  return values.argmax(1)


@jax.jit
def logits(x: Array, kernel: Array) -> Array:
  """Returns the logits, float32 [n, c], of features [n, f] by a classifier [f + 1, c]."""
  return jnp.dot(x, kernel[:-1], precision=jax.lax.Precision.HIGHEST) + kernel[-1:]


def folded(kernel: Array | np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
  """Returns the classifier [f + 1, c] that has the logits on x that `kernel` has on (x - mean) / scale; mean, scale: [f]."""
  kernel, mean, scale = (np.asarray(x, np.float64) for x in (kernel, mean, scale))
  weights = kernel[:-1] / scale[:, None]
  return np.concatenate([weights, kernel[-1:] - mean[None] @ weights]).astype(np.float32)
