"""Low-shot: how well a few labeled images teach a classifier, over several draws of them."""

import statistics

import numpy as np

from jaxssl.core.errors import UserError
from jaxssl.evals import finetune, linear
from jaxssl.evals.features import FeatureExtractor, Features, labeled_test
from jaxssl.workdir.results import Measurement


def measure(subject: FeatureExtractor) -> list[Measurement]:
  """Mean top-1 accuracy in percent, and its deviation over draws, of every entry of `evals.lowshot.shots`."""
  config, bank, queries = subject.config.evals.lowshot, subject.bank, labeled_test(subject, "lowshot")
  if config.draws < 1:
    raise UserError(f"evals.lowshot.draws={config.draws} is not allowed; at least 1")
  tuning = finetune.make(subject) if config.finetune else None
  found = []
  for shots in config.shots:
    drawn = [draw(bank, shots, seed) for seed in range(config.draws)]
    right: dict[str, list[float]] = {"linear": [], **({"finetune": []} if tuning else {})}
    for seed, rows in enumerate(drawn):
      weights, _ = linear.logistic(bank.x[rows], bank.labels[rows], subject.num_classes, seed)
      right["linear"].append(100 * float((linear.classify(weights, queries.x) == queries.labels).mean()))
      if tuning:
        right["finetune"].append(100 * float((finetune.guess(tuning, rows, seed) == queries.labels).mean()))
    how = {
      "linear": f"{linear.LOGISTIC} chosen on a held-out fifth of the few, on frozen features",
      "finetune": finetune.describe(subject),
    }
    for name, values in right.items():
      few = f"{shots:.0%} of each class" if shots < 1 else f"{shots:.0f} of each class"
      found.append(
        Measurement(
          name=f"lowshot_{few.replace(' of each class', '').replace('%', 'percent')}_{name}",
          value=statistics.mean(values),
          deviation=statistics.stdev(values) if len(values) > 1 else None,
          protocol=f"{how[name]}, taught by {few}, {len(drawn[0])} of {bank.says}, mean of {len(values)} draws, "
          f"queries: {queries.says}, {subject.says}",
        )
      )
  return found


def draw(bank: Features, shots: float, seed: int) -> np.ndarray:
  """Draws rows of the bank: a share of each class where shots < 1 (at least one image), else so many of each.

  Raises UserError where a class has fewer.
  """
  smallest = min(np.unique(bank.labels, return_counts=True)[1])
  if not 0 < shots <= max(smallest, 1):
    raise UserError(f"evals.lowshot.shots={shots:g} is not allowed; the smallest class has {smallest} images")
  order, rows = np.random.default_rng(seed).permutation(len(bank.labels)), []
  for c in np.unique(bank.labels):
    of_class = order[bank.labels[order] == c]
    count = max(round(shots * len(of_class)), 1) if shots < 1 else int(shots)
    rows.append(of_class[:count])
  return np.sort(np.concatenate(rows))
