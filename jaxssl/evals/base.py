"""What an evaluation is given, and what it gives back."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxssl.config import Config
from jaxssl.evals.features import extract
from jaxssl.models.network import Network
from jaxssl.splits import Split, Splits, in_order
from jaxssl.types import Array, PyTree, UserError, Variables
from jaxssl.views import recipes

NEED_LABELS = ("knn", "linear", "lowshot", "finetune", "clusters", "retrieval")
# what a run is compared with; it has one of the first two, the network before its first step
BASELINES = ("untrained", "imported", "raw_pixels")
NEED_TEST = ("linear", "lowshot", "finetune")
RAW_SIZE = 32  # raw pixels are compared at this side at most


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
  """One number, and how it was measured."""

  name: str
  value: float
  protocol: str  # its full name with all parameters: two numbers may be compared where their protocols are the same
  deviation: float | None = None  # over draws, the sample's; None: there was one


class Features(NamedTuple):
  """The features of a split."""

  x: np.ndarray  # float32 [n, f]
  labels: np.ndarray  # int32 [n]; -1 throughout where the source has none
  says: str  # "4000 training pictures of mnist5k"


class Subject:
  """Whose features are measured: a network with its weights, or raw pixels; and on which pictures. Features are made once."""

  def __init__(
    self, config: Config, mesh: Mesh, splits: Splits, network: Network, variables: Variables | None, whose: str = "raw_pixels"
  ):
    self.config, self.mesh, self.splits, self.network, self.variables = config, mesh, splits, network, variables
    self.show = Show(
      size=config.evals.size or next(iter(config.views.values())).size,
      resize=config.evals.resize,
      mean=config.data.mean,
      std=config.data.std,
    )
    self.says = whose.replace("_", " ") + (f" at {min(self.show.size, RAW_SIZE)}" if variables is None else "")
    self._made: dict[int, np.ndarray] = {}
    if variables is not None and not _all_finite(variables):  # a ReLU would turn them into zeros
      raise UserError(f"the weights of the {self.says} are not finite: nothing can be measured with them")

  @property
  def bank(self) -> Features:
    """What is compared with, or learned from."""
    split, groups = self.splits.bank, self.splits.groups
    balance = f", equally many of {sum(map(len, groups.values()))} classes, trained on or not" if groups else ""
    return Features(self.features(split), _labels(split), f"{len(split)} training pictures of {split.source.name}{balance}")

  @property
  def queries(self) -> Features | None:
    """What is asked about; None where there is no test split: then the bank's pictures, each by the others."""
    split = self.splits.test
    if split is None:
      return None
    return Features(self.features(split), _labels(split), f"{len(split)} test pictures of {split.source.name}")

  @property
  def num_classes(self) -> int:
    """Classes of the pictures."""
    return len(self.splits.bank.source.classes)

  def features(self, split: Split) -> np.ndarray:
    """Gives float32 [n, f] of every picture of a split. Raises UserError where they are not finite."""
    if id(split) not in self._made:
      made = self._run(split, layers=False)
      if not np.isfinite(made).all():
        raise UserError(f"features are not finite: {self.says}, {(~np.isfinite(made)).any(1).sum()} of {len(made)} pictures")
      self._made[id(split)] = made
    return self._made[id(split)]

  def layers(self, split: Split) -> dict[str, np.ndarray]:
    """Gives float32 [n, d] of the encoder's output and every layer of the projector, for every picture of a split."""
    return self._run(split, layers=True)

  def _run(self, split: Split, layers: bool) -> Any:
    run = functools.partial(_see, self.network, self.show, layers, self.variables, store=split.store)
    return extract(self.mesh, run, in_order(self.config, self.mesh, split, self.show.size))


class Show(NamedTuple):
  """How a picture is shown to a network."""

  size: int
  resize: int
  mean: tuple[float, ...]
  std: tuple[float, ...]

  def images(self, pictures: Array, store: Array | None) -> Array:
    """Makes float32 [b, size, size, c] of pictures, which the host has resized, or of their places in a store."""
    if store is None:
      return recipes.show(pictures, self.size, 0, self.mean, self.std)
    return recipes.show(store[pictures], self.size, self.resize, self.mean, self.std)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _see(
  network: Network, show: Show, layers: bool, variables: Variables | None, pictures: Array, store: Array | None
) -> PyTree:
  """Features of pictures; raw pixels where there are no variables. Compiled once for all subjects of a run."""
  if variables is None:
    plain = show._replace(size=min(show.size, RAW_SIZE), resize=0, mean=(0.0,) * len(show.mean), std=(1.0,) * len(show.std))
    return plain.images(pictures, store).reshape(len(pictures), -1)
  images = show.images(pictures, store)
  return network.layers(variables, images) if layers else network.encode(variables, images)


@jax.jit
def _all_finite(tree: PyTree) -> Array:
  return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]))


def labelled_test(subject: Subject, evaluation: str) -> Features:
  """Gives the test split's features. Raises UserError where there is none, or it has a class that the bank lacks."""
  bank, queries = subject.bank, subject.queries
  if queries is None:
    raise UserError(
      f"{evaluation} needs a test split, and there is none: set data.test_path (needed by {', '.join(NEED_TEST)})"
    )
  missing = sorted(set(queries.labels.tolist()) - set(bank.labels.tolist()))
  if missing:
    names = ", ".join(subject.splits.bank.source.classes[c] for c in missing[:3])
    raise UserError(f"{len(missing)} classes of the test split have no picture in the training split, such as {names}")
  return queries


def by_group(name: str, right: np.ndarray, labels: np.ndarray, groups: Mapping[str, np.ndarray]) -> dict[str, float]:
  """Top-1 accuracy in percent, and, under `{name}_{group}`, the mean of the accuracies of each group's classes.

  right: bool [n]; labels: int32 [n]. Classes without pictures do not count.
  """
  found = {name: 100.0 * float(right.mean())}
  for group, classes in groups.items():
    of_class = [right[labels == c].mean() for c in classes if (labels == c).any()]
    found |= {f"{name}_{group}": 100.0 * float(np.mean(of_class))} if of_class else {}
  return found


def mean_of(name: str, groups: Mapping[str, np.ndarray]) -> str:
  """Says in a protocol what a name of `by_group` is the mean of."""
  group = name.rpartition("_")[2]
  return f"mean of the accuracies of the {len(groups[group])} {group} classes, " if group in groups else ""


def _labels(split: Split) -> np.ndarray:
  labels = split.source.labels
  return np.full(len(split), -1, np.int32) if labels is None else labels
