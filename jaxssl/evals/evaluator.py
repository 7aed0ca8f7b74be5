"""Runs evaluations of one run: during training, at its end, and from the command line."""

import dataclasses
import functools
import logging
from collections.abc import Sequence
from typing import Literal

import jax
import numpy as np
from jax.sharding import Mesh

from jaxssl.bootstrap import metrics
from jaxssl.config.schema import Config
from jaxssl.core.errors import UserError
from jaxssl.core.metric import Measurement
from jaxssl.core.types import Array, TrainState, Variables
from jaxssl.data.datasets import Datasets
from jaxssl.evals import clustering, feature_stats, finetune, knn, linear, lowshot, neighbors, retrieval
from jaxssl.evals.features import FeatureExtractor
from jaxssl.evals.registry import EVALUATIONS, NEEDS, Needs
from jaxssl.models.network import Network
from jaxssl.parallel.mesh import padded_rows, replicate

__all__ = ["EVALUATIONS", "Evaluator", "network_of"]

BUILT_IN = (knn, linear, lowshot, finetune, clustering, retrieval, neighbors, feature_stats)  # importing them registers them
LOG = logging.getLogger("jaxssl")
RAW_IMAGES = 200_000  # above, raw pixels are not measured: they would take more than 2.5 GB


def network_of(config: Config, has_teacher: bool) -> Literal["teacher", "student"]:
  """Returns which network `evals.network` means. Raises UserError for the teacher of a method without one."""
  if config.evals.network == "teacher" and not has_teacher:
    raise UserError(f"evals.network=teacher: method.name={config.method['name']} has no teacher; use auto or student")
  if config.evals.network == "auto":
    return "teacher" if has_teacher else "student"
  return config.evals.network


def check_names(config: Config) -> None:
  """Raises UserError for an unknown evaluation in `evals.periodic` or `evals.final`."""
  for name in (*config.evals.periodic, *config.evals.final):
    EVALUATIONS.find(name)


class Evaluator:
  """Measures the networks of one run on its datasets.

  Raises UserError for unknown evaluations in the config, and for a test set without labels if the training set has some.
  """

  def __init__(self, config: Config, mesh: Mesh, splits: Datasets, network: Network, has_teacher: bool):
    self.config, self.mesh, self.splits, self.network = config, mesh, splits, network
    check_names(config)
    labels = splits.reference.source.labels
    if labels is not None and splits.test is not None and splits.test.source.labels is None:
      raise UserError(f"data.test_path={config.data.test_path} has no labels, but the training set has")
    self.has = Needs(labels=labels is not None, test_set=splits.test is not None)
    if labels is None:
      LOG.info("no labels in %s: evaluations that need labels, such as k-NN, are skipped", splits.reference.source.name)
    self.which = network_of(config, has_teacher)
    self.untrained = "imported" if config.model.init_from else "untrained"  # the subject name of the network before step 1

  def possible(self, names: Sequence[str]) -> list[str]:
    """Returns the evaluations whose needs these datasets meet."""
    needs = {name: NEEDS[name] for name in names}
    return [n for n in names if self.has.labels >= needs[n].labels and self.has.test_set >= needs[n].test_set]

  def require(self, names: Sequence[str]) -> None:
    """Raises UserError for an unknown evaluation, and for one whose needs these datasets do not meet."""
    possible = self.possible(tuple(EVALUATIONS))
    for name in names:
      EVALUATIONS.find(name)
      if name not in possible:
        lacks = "a test set (data.test_path)" if self.has.labels else "labels"
        source = self.splits.reference.source.name
        raise UserError(f"{name} needs {lacks}, which {source} lacks; possible: {', '.join(possible)}")

  def extractor(self, variables: Variables | None, subject: str) -> FeatureExtractor:
    """Returns the input of evaluations for a network, or for raw pixels if `variables` is None."""
    return FeatureExtractor(self.config, self.mesh, self.splits, self.network, variables, subject)

  def chosen(self, student: Variables, teacher: Variables | None) -> FeatureExtractor:
    """Returns the input of evaluations for the network that `evals.network` names."""
    variables = teacher if teacher is not None and self.which == "teacher" else student
    return self.extractor(variables, self.which)

  def measure(self, extractor: FeatureExtractor, names: Sequence[str]) -> list[Measurement]:
    """Runs those of the evaluations that are possible."""
    return [dataclasses.replace(m, evaluation=name) for name in self.possible(names) for m in EVALUATIONS[name](extractor)]

  def baselines(self, first: Variables, names: Sequence[str]) -> list[Measurement]:
    """Measures raw pixels and the network before its first step, which show what training gained."""
    if not self.config.evals.baselines:
      return []
    subjects: dict[str, Variables | None] = {"raw_pixels": None, self.untrained: first}
    if len(self.splits.reference.source) > RAW_IMAGES:
      LOG.info("raw pixels are not measured: there are more than %d images", RAW_IMAGES)
      del subjects["raw_pixels"]
    return [m for subject, variables in subjects.items() for m in self.measure(self.extractor(variables, subject), names)]

  def neighbor_bank(self, state: TrainState) -> list[Measurement]:
    """Measures the neighbor bank at the end of an epoch (AdaSim's metrics); empty if bootstrapping is off."""
    if state.neighbor_bank is None:
      return []
    values = jax.device_get(metrics.figures(state.neighbor_bank, self._padded_labels, len(self.splits.train)))
    protocol = {"images": "visited in the last epoch"}
    return [
      Measurement(
        metric=metrics.METRICS[name], value=float(x), subject="neighbor_bank", protocol=protocol, evaluation="bootstrap"
      )
      for name, x in values.items()
      if np.isfinite(x)
    ]

  @functools.cached_property
  def _padded_labels(self) -> Array:
    rows, known = padded_rows(len(self.splits.train), self.mesh), self.splits.train.source.labels
    labels = np.full(rows, -1, np.int32)
    if known is not None:
      labels[: len(known)] = known
    return replicate(self.mesh, labels)
