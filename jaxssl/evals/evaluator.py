"""Runs evaluations of one run: during training, at its end, and from the command line."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh

from jaxssl import methods
from jaxssl.bootstrap import metrics
from jaxssl.config.schema import Config
from jaxssl.core import LOG, UserError, require
from jaxssl.core.metric import Measurement
from jaxssl.core.types import TrainState, Variables
from jaxssl.data.datasets import Datasets
from jaxssl.evals import clustering, dense, feature_stats, finetune, knn, linear, lowshot, neighbors, retrieval
from jaxssl.evals.features import EVALUATIONS, LABELS, NEEDS, TEST_SET, FeatureExtractor, check_classes, labels_of
from jaxssl.evals.gradient_descent import check as check_training
from jaxssl.evals.preprocessing import first_view
from jaxssl.models.network import Network
from jaxssl.parallel.mesh import replicate

# Importing them registers them
BUILT_IN = (knn, linear, lowshot, finetune, clustering, retrieval, neighbors, feature_stats, dense)
CLASSIFIERS = {"linear", "lowshot", "finetune"}  # they know the classes of the reference set only


def network_of(config: Config) -> Literal["teacher", "student"]:
  """Returns the network that `evals.network` selects. Raises UserError for the teacher of a method without one."""
  has_teacher = bool(methods.read_method(config.method).forward_spec.teacher)
  if config.evals.network == "teacher" and not has_teacher:
    raise UserError(f"evals.network=teacher: method.name={config.method['name']} has no teacher; use auto or student")
  if config.evals.network == "auto":
    return "teacher" if has_teacher else "student"
  return config.evals.network


def check_config(config: Config) -> None:
  """Raises UserError for what is wrong in `evals` whatever the images are, such as an unknown evaluation."""
  for field in ("periodic", "final"):
    for name in getattr(config.evals, field):
      EVALUATIONS.find(name, f"evals.{field}")
  for field in ("every", "batch_size", "baseline_seeds"):
    require(getattr(config.evals, field) > 0, f"evals.{field}", getattr(config.evals, field), "at least 1")
  for shots in config.evals.lowshot.shots:
    require(shots < 1 or shots == round(shots), "evals.lowshot.shots", shots, "a fraction below 1, or a whole number of images")
  stems = [lowshot.stem_of(path) for path in config.evals.lowshot.lists]
  require(len({*stems}) == len(stems), "evals.lowshot.lists", config.evals.lowshot.lists, "files of different names")
  check_training(config.evals.finetune, "evals.finetune")
  linear.protocols(config.evals.linear)
  if resize := config.evals.resize:
    size = config.evals.size or first_view(config).size
    require(resize >= size, "evals.resize", resize, f"0 (the whole image), or at least {size}, the size that is evaluated")
  network_of(config)


class Evaluator:
  """Measures the networks of one run on its datasets.

  Raises UserError for unknown evaluations in the config, and for a test set without labels if the training set has some.
  """

  def __init__(self, config: Config, mesh: Mesh, datasets: Datasets, network: Network):
    check_config(config)
    labeled, test = datasets.reference.labeled(), datasets.test and datasets.test.labeled()
    if len(labeled) < len(datasets.reference):  # an unknown class would vote, and would count as wrong
      LOG.info("evaluations use the %d of %d images whose class is known", len(labeled), len(datasets.reference))
    self.datasets = dataclasses.replace(datasets, reference=labeled, test=test)
    self.config, self.mesh, self.network, reference = config, mesh, network, labeled.source
    if reference.labels is not None and test is not None and test.source.labels is None:
      where = test.source.name
      if config.data.path:
        split = f"the test split in data.path={config.data.path}"
        where = f"data.test_path={config.data.test_path}" if config.data.test_path else split
      remedy = "sort its images into the same class folders, or set data.path to the training folder alone"
      remedy = remedy if config.data.path else "expected labels of both, or no test set"
      raise UserError(f"{where} has no labels, but the training set has; {remedy}")
    if reference.labels is None:
      LOG.info("no labels in %s: evaluations that need labels, such as k-NN, are skipped", reference.name)
    elif test is None:
      LOG.info("no test set: k-NN leaves one out; evaluations that need one are skipped (evals.holdout=0.2 would draw one)")
    self.lacks = {need for need, lacking in ((LABELS, reference.labels is None), (TEST_SET, test is None)) if lacking}
    if "linear" in (*config.evals.periodic, *config.evals.final):
      linear.check(config.evals.linear, network)
    self.which = network_of(config)
    self.untrained = "imported" if config.model.init_from else "untrained"  # the subject name of the network before step 1

  def possible(self, names: Sequence[str]) -> list[str]:
    """Returns the evaluations whose needs these datasets meet."""
    return [name for name in names if not NEEDS[name] & self.lacks]

  def check_run(self) -> None:
    """Raises UserError if an evaluation of the run would fail: for a k that is too large, missing classes or images."""
    names = self.possible((*self.config.evals.periodic, *self.config.evals.final))
    if "dense" in names:
      dense.check(self.config, self.network)
    if "knn" in names:
      knn.check(self.config.evals.knn, len(self.datasets.reference) - (self.datasets.test is None))
    if not CLASSIFIERS & set(names):
      return
    reference, test = self.datasets.reference, self.datasets.test
    if test:
      check_classes(labels_of(test), labels_of(reference), reference.source.classes)
    if "lowshot" in names:
      lowshot.check(self.config.evals.lowshot, labels_of(reference))
      for path in self.config.evals.lowshot.lists:
        lowshot.listed(reference.source, path)

  def require(self, names: Sequence[str]) -> None:
    """Raises UserError for an evaluation whose needs these datasets do not meet."""
    possible = self.possible(tuple(EVALUATIONS))
    for name in names:
      if name not in possible:
        source = self.datasets.reference.source.name
        raise UserError(f"{name} needs {max(NEEDS[name] & self.lacks)}, which {source} lacks; possible: {', '.join(possible)}")

  def extractor(self, variables: Variables | None, subject: str) -> FeatureExtractor:
    """Returns the input of evaluations for a network, or for raw pixels if `variables` is None."""
    return FeatureExtractor(self.config, self.mesh, self.datasets, self.network, variables, subject)

  def chosen(self, student: Variables, teacher: Variables | None) -> FeatureExtractor:
    """Returns the input of evaluations for the network that `evals.network` names."""
    return self.extractor(teacher if self.which == "teacher" else student, self.which)

  def measure(self, extractor: FeatureExtractor, names: Sequence[str]) -> list[Measurement]:
    """Runs the evaluations that are possible."""
    return [dataclasses.replace(m, evaluation=name) for name in self.possible(names) for m in EVALUATIONS[name](extractor)]

  def neighbor_bank(self, state: TrainState) -> list[Measurement]:
    """Measures the neighbor bank at the end of an epoch (AdaSim's metrics); empty if bootstrapping is off."""
    if state.neighbor_bank is None:
      return []
    train = self.datasets.train
    labels = None if train.source.labels is None else replicate(self.mesh, train.source.labels)
    values = jax.device_get(metrics.figures(state.neighbor_bank, len(train), labels))
    about: Any = {"subject": "neighbor_bank", "protocol": {"images": "visited in the last epoch"}, "evaluation": "bootstrap"}
    return [Measurement(metric=metrics.METRICS[name], value=float(x), **about) for name, x in values.items() if np.isfinite(x)]
