"""What an evaluation is given, and what it gives back."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxssl.augment import pipeline
from jaxssl.config.schema import Config
from jaxssl.core.errors import UserError
from jaxssl.core.types import Array, PyTree, Variables
from jaxssl.data import input_pipeline, sampler
from jaxssl.data.datasets import Dataset, Datasets, in_order
from jaxssl.data.source import Source
from jaxssl.models.network import Network
from jaxssl.parallel.mesh import global_rows, local_slice, padded_rows, to_host

NEED_LABELS = ("knn", "linear", "lowshot", "finetune", "clusters", "retrieval")
NEED_TEST = ("linear", "lowshot", "finetune")
RAW_SIZE = 32  # raw pixels are compared at this side at most


class Features(NamedTuple):
  """The features of a split."""

  x: np.ndarray  # float32 [n, f]
  labels: np.ndarray  # int32 [n]; -1 throughout where the source has none
  says: str  # "4000 training images of mnist5k"


class FeatureExtractor:
  """Whose features are measured: a network with its weights, or raw pixels; and on which images. Features are made once."""

  def __init__(
    self, config: Config, mesh: Mesh, splits: Datasets, network: Network, variables: Variables | None, whose: str = "raw_pixels"
  ):
    self.config, self.mesh, self.splits, self.network, self.variables = config, mesh, splits, network, variables
    self.show = Preprocessing(
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
    split, groups = self.splits.reference, self.splits.class_groups
    balance = f", equally many of {sum(map(len, groups.values()))} classes, trained on or not" if groups else ""
    return Features(self.features(split), _labels(split), f"{len(split)} training images of {split.source.name}{balance}")

  @property
  def queries(self) -> Features | None:
    """What is asked about; None where there is no test split: then the bank's images, each by the others."""
    split = self.splits.test
    if split is None:
      return None
    return Features(self.features(split), _labels(split), f"{len(split)} test images of {split.source.name}")

  @property
  def num_classes(self) -> int:
    """Classes of the images."""
    return len(self.splits.reference.source.classes)

  def features(self, split: Dataset) -> np.ndarray:
    """Gives float32 [n, f] of every image of a split. Raises UserError where they are not finite."""
    if id(split) not in self._made:
      made = self._run(split, layers=False)
      if not np.isfinite(made).all():
        raise UserError(f"features are not finite: {self.says}, {(~np.isfinite(made)).any(1).sum()} of {len(made)} images")
      self._made[id(split)] = made
    return self._made[id(split)]

  def layers(self, split: Dataset) -> dict[str, np.ndarray]:
    """Gives float32 [n, d] of the encoder's output and every layer of the projector, for every image of a split."""
    return self._run(split, layers=True)

  def _run(self, split: Dataset, layers: bool) -> Any:
    run = functools.partial(_see, self.network, self.show, layers, self.variables, store=split.resident)
    return extract(self.mesh, run, in_order(self.config, self.mesh, split, self.show.size))


class Preprocessing(NamedTuple):
  """How an image is shown to a network."""

  size: int
  resize: int
  mean: tuple[float, ...]
  std: tuple[float, ...]

  def images(self, stored: Array, store: Array | None) -> Array:
    """Makes float32 [b, size, size, c] of stored, which the host has resized, or of their places in a store."""
    if store is None:
      return pipeline.show(stored, self.size, 0, self.mean, self.std)
    return pipeline.show(store[stored], self.size, self.resize, self.mean, self.std)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _see(
  network: Network, show: Preprocessing, layers: bool, variables: Variables | None, stored: Array, store: Array | None
) -> PyTree:
  """Features of stored; raw pixels where there are no variables. Compiled once for all subjects of a run."""
  if variables is None:
    plain = show._replace(size=min(show.size, RAW_SIZE), resize=0, mean=(0.0,) * len(show.mean), std=(1.0,) * len(show.std))
    return plain.images(stored, store).reshape(len(stored), -1)
  images = show.images(stored, store)
  return network.layers(variables, images) if layers else network.encode(variables, images)


@jax.jit
def _all_finite(tree: PyTree) -> Array:
  return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]))


def labeled_test(subject: FeatureExtractor, evaluation: str) -> Features:
  """Gives the test split's features. Raises UserError where there is none, or it has a class that the bank lacks."""
  bank, queries = subject.bank, subject.queries
  if queries is None:
    raise UserError(
      f"{evaluation} needs a test split, and there is none: set data.test_path (needed by {', '.join(NEED_TEST)})"
    )
  missing = sorted(set(queries.labels.tolist()) - set(bank.labels.tolist()))
  if missing:
    names = ", ".join(subject.splits.reference.source.classes[c] for c in missing[:3])
    raise UserError(f"{len(missing)} classes of the test split have no image in the training split, such as {names}")
  return queries


def by_group(name: str, right: np.ndarray, labels: np.ndarray, groups: Mapping[str, np.ndarray]) -> dict[str, float]:
  """Top-1 accuracy in percent, and, under `{name}_{group}`, the mean of the accuracies of each group's classes.

  right: bool [n]; labels: int32 [n]. Classes without images do not count.
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


def _labels(split: Dataset) -> np.ndarray:
  labels = split.source.labels
  return np.full(len(split), -1, np.int32) if labels is None else labels


# One evaluation batch: images [b, h, w, c] as stored, or their int32 [b] places in a store on the devices, of both the rows
# of this process; bool [b] mask of all rows.
Batches = Iterable[tuple[np.ndarray, np.ndarray]]


def extract(mesh: Mesh, encode: Callable[[Array], PyTree], batches: Batches) -> Any:
  """Runs a jitted `encode` over all batches: its tree of [b, ...] as one of float32 [n, ...] in order, without the padding.

  A batch is fetched once the next is under way, so that neither the devices wait nor more than two batches stay on them.
  """
  parts: list[PyTree] = []
  pending: tuple[PyTree, np.ndarray] | None = None

  def fetch() -> None:
    if pending is not None:
      made, mask = pending
      parts.append(jax.tree.map(lambda x: x[mask], to_host(mesh, made)))

  for images, mask in batches:
    made = encode(global_rows(mesh, images))
    fetch()
    pending = made, mask
  fetch()
  return jax.tree.map(lambda *pieces: np.concatenate(pieces), *parts)


def shown_size(config: Config) -> int:
  """Side in pixels of the image that evaluations show to the network."""
  return config.evals.size or next(iter(config.views.values())).size


def encode(
  config: Config, mesh: Mesh, network: Network, variables: Variables, images: Source, patches: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
  """Gives float32 [n, f] of all images, and with `patches` float32 [n, p, f] of their patches row by row.

  Images may differ in size: the host resizes each, whatever data.placement is. `variables` lie on the devices.
  Raises UserError for `patches` of a network that has none, and where evals.size and evals.resize do not go together.
  """
  size = shown_size(config)
  index, mask = sampler.eval_plan(len(images), padded_rows(min(config.evals.batch_size, len(images)), mesh))
  own = local_slice(mesh, index.shape[1])
  read = input_pipeline.inference(images, index[:, own], mask[:, own], config.evals.resize, size, config.data.workers)
  run = functools.partial(_encode, network, size, config.data.mean, config.data.std, patches, variables)
  return extract(mesh, run, zip(read, mask, strict=True))


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _encode(
  network: Network,
  size: int,
  mean: tuple[float, ...],
  std: tuple[float, ...],
  patches: bool,
  variables: Variables,
  stored: Array,
) -> tuple[Array, Array | None]:
  images = pipeline.show(stored, size, 0, mean, std)
  if not patches:
    return network.encode(variables, images), None
  tokens = network.tokens(variables, images)
  return tokens[:, 0], tokens[:, 1:]
