"""What is measured during a run and at its end, with the name and protocol of every number."""

import functools
import logging
from collections.abc import Callable

import jax
import numpy as np

from jaxssl import parallel
from jaxssl.data import pipeline, plan
from jaxssl.evals import knn, neighborhood, quality
from jaxssl.evals.features import extract
from jaxssl.run import Run, Split
from jaxssl.types import Array, TrainState, UserError, Variables
from jaxssl.views import recipes

LOG = logging.getLogger("jaxssl")
RAW_SIZE = 32  # raw pixels are compared at this side at most


class Measure:
  """The measurements of one run. With labels: k-NN. Without: how many dimensions the features use."""

  def __init__(self, run: Run):
    self.run, config = run, run.config
    first_group = next(iter(config.views.values()))
    self.size, self.network = config.evals.size or first_group.size, config.evals.network
    self.labels = run.train.source.labels
    if self.labels is None:
      LOG.info("no labels in %s: measured by effective rank and neighbour figures instead of k-NN", run.train.source.name)
    elif run.test is not None and run.test.source.labels is None:
      raise UserError(f"data.test_path={config.data.test_path} has no labels, but the training split has")
    has_teacher = bool(run.trainer.method.passes.teacher)
    if self.network == "teacher" and not has_teacher:
      raise UserError(f"evals.network=teacher is not allowed; method.name={config.method['name']} has no teacher: auto, online")
    if self.network == "auto":
      self.network = "teacher" if has_teacher else "online"

  @functools.cached_property
  def _encode(self) -> Callable[[Variables | None, Array, Array | None], Array]:
    """Features of pictures, or raw pixels where no variables are given."""
    evals, data = self.run.config.evals, self.run.config.data

    def encode(variables: Variables | None, pictures: Array, store: Array | None) -> Array:
      pictures = pictures if store is None else store[pictures]
      if variables is None:
        blank = (0.0,) * data.channels, (1.0,) * data.channels
        return recipes.show(pictures, min(self.size, RAW_SIZE), 0, *blank).reshape(pictures.shape[0], -1)
      images = recipes.show(pictures, self.size, evals.resize if store is not None else 0, data.mean, data.std)
      return self.run.trainer.network.encode(variables, images)

    return jax.jit(encode)

  def features(self, variables: Variables | None, split: Split) -> np.ndarray:
    """Gives float32 [n, f] of every picture of a split; raw pixels where variables are None."""
    config, source = self.run.config, split.source
    index, mask = plan.eval_plan(len(source), parallel.padded_rows(config.evals.batch_size, self.run.mesh))
    if split.store is not None:
      batches = zip(index, mask, strict=True)
    else:
      evals = config.evals
      read = pipeline.eval_batches(source, index, mask, evals.resize, self.size, config.data.workers)
      batches = ((pictures, valid) for _, valid, pictures in read)
    return extract(self.run.mesh, lambda x: self._encode(variables, x, split.store), batches)

  def quality(self, variables: Variables | None) -> dict[str, float]:
    """Measures one set of features: k-NN where there are labels, and the effective rank."""
    run, evals = self.run, self.run.config.evals.knn
    bank = self.features(variables, run.bank)
    queries = None if run.test is None else self.features(variables, run.test)
    values = {"effective_rank": quality.figures(bank if queries is None else queries)["effective_rank"]}
    bank_labels, labels = run.bank.source.labels, None if run.test is None else run.test.source.labels
    if bank_labels is not None:
      values |= knn.accuracy(run.mesh, bank, bank_labels, queries, labels, evals.k, evals.temperature, run.groups)
    return values

  def baselines(self, untrained: Variables) -> dict[str, float]:
    """Measures raw pixels and the untrained network in the same way, so that a reader sees what training buys."""
    if not self.run.config.evals.baselines:
      return {}
    found = {"raw_pixels": self.quality(None), "untrained": self.quality(untrained)}
    return {f"{of}/{name}": value for of, values in found.items() for name, value in values.items()}

  def now(self, state: TrainState) -> dict[str, float]:
    """Measures the network that the config names, and the neighbour memory."""
    variables = state.teacher if self.network == "teacher" else state.online
    assert variables is not None
    return {**self.quality(variables), **self.neighbors(state)}

  def neighbors(self, state: TrainState) -> dict[str, float]:
    """AdaSim's figures of the epoch that ends; empty when bootstrapping is off."""
    if state.neighbors is None:
      return {}
    values = jax.device_get(neighborhood.figures(state.neighbors, self._padded_labels, len(self.run.train.source)))
    return {name: float(value) for name, value in values.items() if np.isfinite(value)}

  @functools.cached_property
  def _padded_labels(self) -> Array:
    rows = parallel.padded_rows(len(self.run.train.source), self.run.mesh)
    labels = np.full(rows, -1, np.int32)
    if self.labels is not None:
      labels[: len(self.labels)] = self.labels
    return parallel.everywhere(self.run.mesh, labels)

  def protocol(self, name: str) -> str:
    """Says how the number of this name was measured."""
    of, _, figure = name.rpartition("/")
    whose = {
      "": f"{self.network} network",
      "raw_pixels": f"raw pixels at {min(self.size, RAW_SIZE)}",
      "untrained": "untrained network",
    }
    bank, test, groups = self.run.bank.source, self.run.test, self.run.groups
    queries = f"{len(test.source)} test pictures" if test else "every picture of the bank by the others"
    if figure.startswith("knn"):
      temperature = self.run.config.evals.knn.temperature
      balance = f", equally many of {sum(map(len, groups.values()))} classes, trained on or not" if groups else ""
      group = figure.rpartition("_")[2]
      mean = f"mean of the accuracies of the {len(groups[group])} {group} classes, " if group in groups else ""
      return (
        f"weighted k-NN, weights exp(cosine / {temperature}), bank: {len(bank)} training pictures of {bank.name}{balance}, "
        f"queries: {queries}, {mean}{whose[of]}"
      )
    if figure == "effective_rank":
      return f"exp(entropy of normalised singular values) of up to 4,096 {'test' if test else 'training'} pictures, {whose[of]}"
    return "share of the images visited in the last epoch"
