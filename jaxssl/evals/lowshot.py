"""Measures accuracy with a few labeled images, over several draws of them."""

import statistics

import numpy as np

from jaxssl.core import UserError
from jaxssl.core.metric import Measurement, Scalar, accuracy_metric
from jaxssl.evals import finetune, linear
from jaxssl.evals.features import FeatureExtractor, Features, evaluation, labeled_test


@evaluation("lowshot", labels=True, test_set=True)
def measure(extractor: FeatureExtractor) -> list[Measurement]:
  """Measures mean and standard deviation over draws of the top-1 accuracy in percent, for each of `evals.lowshot.shots`."""
  config, reference, test = extractor.config.evals.lowshot, extractor.reference, labeled_test(extractor)
  if config.draws < 1:
    raise UserError(f"evals.lowshot.draws={config.draws}: out of range; expected at least 1")
  protocols = {"linear": linear.PROTOCOLS["lbfgs"]}
  if config.finetune and extractor.variables is not None:
    protocols["finetune"] = finetune.protocol(extractor.config.evals.finetune)
  measured = []
  for shots in config.shots:
    short, amount = (f"{100 * shots:.0f}percent", f"{shots:.0%}") if shots < 1 else (f"{shots:.0f}", f"{shots:.0f}")
    amount += " of each class"
    drawn = [draw(reference, shots, seed) for seed in range(config.draws)]
    tune = finetune.trainer(extractor, len(drawn[0])) if "finetune" in protocols else None
    right: dict[str, list[float]] = {name: [] for name in protocols}
    for seed, rows in enumerate(drawn):
      x, queries = linear.standardized(reference.x[rows], test.x)
      kernel, _ = linear.logistic(x, reference.labels[rows], len(extractor.classes), seed)
      right["linear"].append(100 * float((linear.classify(kernel, queries) == test.labels).mean()))
      if tune:
        right["finetune"].append(100 * float((tune(rows, seed) == test.labels).mean()))
    for name, values in right.items():
      about_draws: dict[str, Scalar] = {"labeled": amount, "labeled_images": len(drawn[0]), "draws": len(drawn)}
      title, about = f"Few labels: {amount}, {name}", "Accuracy when only a few images have labels."
      measured.append(
        Measurement(
          metric=accuracy_metric(f"lowshot_{short}_{name}", title, about),
          value=statistics.mean(values),
          std=statistics.stdev(values) if len(values) > 1 else None,
          subject=extractor.subject,
          protocol={**protocols[name], **about_draws, **reference.protocol, **test.protocol},
        )
      )
  return measured


def draw(reference: Features, shots: float, seed: int) -> np.ndarray:
  """Draws rows: a share of each class, at least one, if shots < 1, else `shots` of each. Raises UserError if it has fewer."""
  classes = linear.by_class(reference.labels, seed)
  smallest = min(map(len, classes))
  if not 0 < shots <= max(smallest, 1):
    raise UserError(f"evals.lowshot.shots={shots:g}: out of range; expected at most {smallest}, the size of the smallest class")
  counts = [max(round(shots * len(rows)), 1) if shots < 1 else int(shots) for rows in classes]
  return np.sort(np.concatenate([rows[:count] for rows, count in zip(classes, counts, strict=True)]))
