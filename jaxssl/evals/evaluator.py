"""What is measured of a network, during a run, at its end, and from the command line: one code for all."""

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import jax
import numpy as np
from jax.sharding import Mesh

from jaxssl.bootstrap import metrics
from jaxssl.config.schema import Config, Evaluation
from jaxssl.core.errors import UserError
from jaxssl.core.types import Array, TrainState, Variables
from jaxssl.data.datasets import Datasets
from jaxssl.evals import clustering, feature_stats, finetune, knn, linear, lowshot, neighbors, retrieval
from jaxssl.evals.features import NEED_LABELS, NEED_TEST, FeatureExtractor
from jaxssl.models.network import Network
from jaxssl.parallel.mesh import padded_rows, replicate
from jaxssl.workdir.results import Measurement

LOG = logging.getLogger("jaxssl")
RAW_IMAGES = 200_000  # raw pixels are a baseline of so many at most: 2.5 GB
EVALUATIONS: Mapping[Evaluation, Callable[[FeatureExtractor], list[Measurement]]] = {
  "knn": knn.measure,
  "linear": linear.measure,
  "lowshot": lowshot.measure,
  "finetune": finetune.measure,
  "clusters": clustering.measure,
  "retrieval": retrieval.measure,
  "neighbors": neighbors.measure,
  "quality": feature_stats.measure,
}


def network_of(config: Config, has_teacher: bool) -> Literal["teacher", "student"]:
  """Says which network `evals.network` means. Raises UserError where it is a teacher and there is none."""
  if config.evals.network == "teacher" and not has_teacher:
    raise UserError(f"evals.network=teacher is not allowed; method.name={config.method['name']} has no teacher: auto, student")
  if config.evals.network == "auto":
    return "teacher" if has_teacher else "student"
  return config.evals.network


class Evaluator:
  """The measurements of one run, on the network that `evals.network` names."""

  def __init__(self, config: Config, mesh: Mesh, splits: Datasets, network: Network, has_teacher: bool):
    self.config, self.mesh, self.splits, self.built = config, mesh, splits, network
    labels = splits.reference.source.labels
    if labels is not None and splits.test is not None and splits.test.source.labels is None:
      raise UserError(f"data.test_path={config.data.test_path} has no labels, but the training split has")
    self.labeled = labels is not None
    if not self.labeled:
      LOG.info(
        "no labels in %s: measured by what needs none, such as the effective rank, not by k-NN", splits.reference.source.name
      )
    self.network = network_of(config, has_teacher)
    self.before = "imported" if config.model.init_from else "untrained"  # what the network before the first step is called

  def possible(self, names: Sequence[Evaluation]) -> list[Evaluation]:
    """Keeps what these images allow: without labels, or without a test split, some evaluations are not."""
    lacking = (*(NEED_LABELS if not self.labeled else ()), *(NEED_TEST if self.splits.test is None else ()))
    return [name for name in names if name not in lacking]

  def require(self, names: Sequence[Evaluation]) -> None:
    """Raises UserError for an evaluation that these images do not allow."""
    possible = self.possible(tuple(EVALUATIONS))
    for name in names:
      if name not in possible:
        lacks = "labels" if not self.labeled else "a test split (data.test_path)"
        raise UserError(
          f"{name} needs {lacks}, and {self.splits.reference.source.name} has none; possible: {', '.join(possible)}"
        )

  def subject(self, variables: Variables | None, whose: str) -> FeatureExtractor:
    """Gives what evaluations are given."""
    return FeatureExtractor(self.config, self.mesh, self.splits, self.built, variables, whose)

  def chosen(self, student: Variables, teacher: Variables | None) -> FeatureExtractor:
    """The network that the config names."""
    variables = teacher if self.network == "teacher" else student
    assert variables is not None
    return self.subject(variables, f"{self.network}_network")

  def of(self, student: Variables, teacher: Variables | None, names: Sequence[Evaluation]) -> list[Measurement]:
    """Measures the network that the config names, by all of these evaluations that are possible."""
    return self.all(self.chosen(student, teacher), names)

  def all(self, subject: FeatureExtractor, names: Sequence[Evaluation]) -> list[Measurement]:
    """Measures by all of these evaluations that are possible."""
    return [found for name in self.possible(names) for found in EVALUATIONS[name](subject)]

  def baselines(self, first: Variables, names: Sequence[Evaluation]) -> list[Measurement]:
    """Measures raw pixels and the network before its first step as the trained one is, so that a reader sees the gain."""
    subjects = {"raw_pixels": None, self.before: first} if self.config.evals.baselines else {}
    if subjects and len(self.splits.reference.source) > RAW_IMAGES:
      LOG.info("raw pixels are no baseline of more than %d images", RAW_IMAGES)
      del subjects["raw_pixels"]
    return [
      dataclasses.replace(found, name=f"{whose}/{found.name}")
      for whose, variables in subjects.items()
      for found in self.all(self.subject(variables, whose if variables is None else f"{whose}_network"), names)
    ]

  def memory(self, state: TrainState) -> list[Measurement]:
    """AdaSim's figures of the epoch that ends, from the neighbor memory; none when bootstrapping is off."""
    if state.neighbor_bank is None:
      return []
    values = jax.device_get(metrics.figures(state.neighbor_bank, self._padded_labels, len(self.splits.train)))
    protocol = "share of the images visited in the last epoch"
    return [Measurement(name=name, value=float(x), protocol=protocol) for name, x in values.items() if np.isfinite(x)]

  @functools.cached_property
  def _padded_labels(self) -> Array:
    rows, known = padded_rows(len(self.splits.train), self.mesh), self.splits.train.source.labels
    labels = np.full(rows, -1, np.int32)
    if known is not None:
      labels[: len(known)] = known
    return replicate(self.mesh, labels)
