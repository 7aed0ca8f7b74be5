"""Measures accuracy with a few labeled images, over several draws of them or by published lists."""

import dataclasses
import functools
import hashlib
import re
import statistics
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from jaxssl.config.eval_schema import LowshotConfig
from jaxssl.core import UserError
from jaxssl.core.metric import Measurement, Scalar, accuracy_metric
from jaxssl.data import image_list
from jaxssl.data.source import Source, optional
from jaxssl.evals import finetune, logistic
from jaxssl.evals.classifier import Classifier, classify, guesses
from jaxssl.evals.features import FeatureExtractor, Features, evaluation, labeled_test, measurements


class LabeledImages(NamedTuple):
  """The labeled images of a measurement: `draws` holds the rows of each draw; `name` is a part of the metric's."""

  name: str
  described: str
  draws: list[np.ndarray]
  protocol: Mapping[str, Scalar]


@evaluation("lowshot", labels=True, test_set=True)
def measure(extractor: FeatureExtractor) -> list[Measurement]:
  """Measures mean and standard deviation over draws of the top-1 accuracy in percent, for each amount and list of labels."""
  config, reference, test = extractor.config.evals.lowshot, extractor.reference, labeled_test(extractor)

  def probe(rows: np.ndarray, seed: int) -> np.ndarray:
    kernel, _ = logistic.fit_raw(reference.x[rows], reference.labels[rows], len(extractor.classes), seed)
    return classify(kernel, test.x)

  measured = []
  for labeled in labeled_images(extractor):
    count = len(labeled.draws[0])
    solvers: list[tuple] = [("linear", logistic.PROTOCOL, probe)]
    if config.finetune and extractor.variables is not None:
      tuned = functools.partial(_tuned, extractor, finetune.trainer(extractor, count))
      solvers.append(("finetune", finetune.protocol(extractor), tuned))
    for name, solver, classes_of in solvers:
      values = [100 * float((classes_of(rows, seed) == test.labels).mean()) for seed, rows in enumerate(labeled.draws)]
      title, about = f"Few labels: {labeled.described}, {name}", "Accuracy when only a few images have labels."
      metric = accuracy_metric(f"lowshot_{labeled.name}_{name}", title, about)
      protocol = {**solver, **labeled.protocol, "labeled_images": count, **reference.protocol, **test.protocol}
      (mean,) = measurements(extractor, {metric: statistics.mean(values)}, protocol)
      measured.append(dataclasses.replace(mean, std=statistics.stdev(values) if len(values) > 1 else None))
  return measured


def labeled_images(extractor: FeatureExtractor) -> list[LabeledImages]:
  """Returns those of each of `evals.lowshot.shots` and `lists`. Raises UserError if there are none, or for a wrong list."""
  config, sets = extractor.config.evals.lowshot, list[LabeledImages]()
  check(config, extractor.reference.labels)
  for shots in config.shots:
    percent = f"{100 * shots:g}"
    name, amount = (f"{percent.replace('.', '_')}percent", f"{percent}%") if shots < 1 else (f"{shots:.0f}", f"{shots:.0f}")
    drawn = [draw(extractor.reference, shots, seed) for seed in range(config.draws)]
    described = f"{amount} of each class"
    sets.append(LabeledImages(name, described, drawn, {"labeled": described, "draws": len(drawn)}))
  for path in config.lists:
    rows, digest = listed(extractor.datasets.reference.source, path)
    stem = stem_of(path)
    sets.append(LabeledImages(f"list_{stem}", f"list {stem}", [rows], {"labeled": f"list {stem}", "list_digest": digest}))
  return sets


def check(config: LowshotConfig, labels: np.ndarray) -> None:
  """Raises UserError if a class of the reference set has fewer images than are drawn of each, or nothing is named.

  labels: int [n].
  """
  if not config.shots and not config.lists:
    raise UserError("evals.lowshot.shots and evals.lowshot.lists are empty; expected amounts or lists of labeled images")
  smallest = int(np.unique(labels, return_counts=True)[1].min())
  for shots in config.shots:
    if not 0 < shots <= max(smallest, 1):
      raise UserError(
        f"evals.lowshot.shots={shots:g}: out of range; expected at most {smallest}, the size of the smallest class"
      )


def stem_of(path: str) -> str:
  """Returns the name of a list's file without its ending, as a part of a metric's name."""
  return re.sub(r"\W", "_", re.split(r"[\\/]", path)[-1].rsplit(".", 1)[0])


def listed(source: Source, path: str) -> tuple[np.ndarray, str]:
  """Returns the rows that a list names, ascending, and a digest of their names. Raises UserError for a missing image."""
  names = [optional(source, "relative_name", row) for row in range(len(source))]
  if not all(names):
    raise UserError(f"evals.lowshot.lists={path}: the images of {source.name} have no names; expected data.source=folder")
  folders = {name.rpartition("/")[0] for name in names}
  rows = sorted(image_list.read(path, names, folders, source.name, "evals.lowshot.lists", "training image"))
  digest = hashlib.sha256("\n".join(names[row] for row in rows).encode(errors="surrogateescape")).hexdigest()
  return np.array(rows), digest[:8]


def _tuned(
  extractor: FeatureExtractor, train: Callable[[np.ndarray, int], Classifier], rows: np.ndarray, seed: int
) -> np.ndarray:
  return guesses(extractor, train(rows, seed))


def draw(reference: Features, shots: float, seed: int) -> np.ndarray:
  """Draws rows: a share of each class, at least one, if shots < 1, else `shots` of each, as `check` allows."""
  classes = logistic.by_class(reference.labels, seed)
  counts = [max(round(shots * len(rows)), 1) if shots < 1 else int(shots) for rows in classes]
  return np.sort(np.concatenate([rows[:count] for rows, count in zip(classes, counts, strict=True)]))
