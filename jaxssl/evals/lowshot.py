"""Measures accuracy with a few labeled images, over several draws of them."""

import dataclasses
import functools
import statistics
from collections.abc import Callable

import numpy as np

from jaxssl.core import UserError
from jaxssl.core.metric import Measurement, accuracy_metric
from jaxssl.evals import finetune, linear
from jaxssl.evals.classifier import Classifier, classify, guesses
from jaxssl.evals.features import FeatureExtractor, Features, evaluation, labeled_test, measurements


@evaluation("lowshot", labels=True, test_set=True)
def measure(extractor: FeatureExtractor) -> list[Measurement]:
  """Measures mean and standard deviation over draws of the top-1 accuracy in percent, for each of `evals.lowshot.shots`."""
  config, reference, test = extractor.config.evals.lowshot, extractor.reference, labeled_test(extractor)
  if config.draws < 1:
    raise UserError(f"evals.lowshot.draws={config.draws}: out of range; expected at least 1")

  def probe(rows: np.ndarray, seed: int) -> np.ndarray:
    x, queries = linear.standardized(reference.x[rows], test.x)
    kernel, _ = linear.logistic(x, reference.labels[rows], len(extractor.classes), seed)
    return classify(kernel, queries)

  measured = []
  for shots in config.shots:
    short, amount = (f"{100 * shots:.0f}percent", f"{shots:.0%}") if shots < 1 else (f"{shots:.0f}", f"{shots:.0f}")
    drawn = [draw(reference, shots, seed) for seed in range(config.draws)]
    fields = {"labeled": f"{amount} of each class", "labeled_images": len(drawn[0]), "draws": len(drawn)}
    solvers: list[tuple] = [("linear", linear.PROTOCOLS["lbfgs"], probe)]
    if config.finetune and extractor.variables is not None:
      tuned = functools.partial(_tuned, extractor, finetune.trainer(extractor, len(drawn[0])))
      solvers.append(("finetune", finetune.protocol(extractor.config.evals.finetune), tuned))
    for name, solver, classes_of in solvers:
      values = [100 * float((classes_of(rows, seed) == test.labels).mean()) for seed, rows in enumerate(drawn)]
      title, about = f"Few labels: {amount} of each class, {name}", "Accuracy when only a few images have labels."
      metric = accuracy_metric(f"lowshot_{short}_{name}", title, about)
      protocol = {**solver, **fields, **reference.protocol, **test.protocol}
      (mean,) = measurements(extractor, {metric: statistics.mean(values)}, protocol)
      measured.append(dataclasses.replace(mean, std=statistics.stdev(values) if len(values) > 1 else None))
  return measured


def _tuned(
  extractor: FeatureExtractor, train: Callable[[np.ndarray, int], Classifier], rows: np.ndarray, seed: int
) -> np.ndarray:
  return guesses(extractor, train(rows, seed))


def draw(reference: Features, shots: float, seed: int) -> np.ndarray:
  """Draws rows: a share of each class, at least one, if shots < 1, else `shots` of each. Raises UserError if it has fewer."""
  classes = linear.by_class(reference.labels, seed)
  smallest = min(map(len, classes))
  if not 0 < shots <= max(smallest, 1):
    raise UserError(f"evals.lowshot.shots={shots:g}: out of range; expected at most {smallest}, the size of the smallest class")
  counts = [max(round(shots * len(rows)), 1) if shots < 1 else int(shots) for rows in classes]
  return np.sort(np.concatenate([rows[:count] for rows, count in zip(classes, counts, strict=True)]))
