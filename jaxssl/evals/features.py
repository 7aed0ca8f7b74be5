"""Features of datasets, by a network or as raw pixels, for evaluations and for `embed`."""

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxssl.config.schema import Config, DataConfig
from jaxssl.core import paths
from jaxssl.core.errors import UserError
from jaxssl.core.metric import Metric, Scalar
from jaxssl.core.types import Array, PyTree, Variables
from jaxssl.data import input_pipeline, sampler
from jaxssl.data.datasets import Dataset, Datasets, in_order
from jaxssl.data.source import Source
from jaxssl.evals.preprocessing import Preprocessing
from jaxssl.models.network import Network
from jaxssl.parallel.mesh import global_rows, local_slice, padded_rows, to_host


class Features(NamedTuple):
  """The features of a dataset."""

  x: np.ndarray  # float32 [n, f]
  labels: np.ndarray  # int32 [n]; -1 throughout without labels
  protocol: Mapping[str, Scalar]  # names the dataset: {"test": "mnist5k", "test_images": 1000}


class FeatureExtractor:
  """The input of every evaluation: a network with its weights, or raw pixels (`variables` None), and the datasets of a run.

  `subject`: teacher, student, untrained, imported or raw_pixels. Features are computed on first use.
  Raises UserError if the weights are not finite.
  """

  def __init__(
    self,
    config: Config,
    mesh: Mesh,
    splits: Datasets,
    network: Network,
    variables: Variables | None,
    subject: str = "raw_pixels",
  ):
    self.config, self.mesh, self.splits, self.network = config, mesh, splits, network
    self.variables, self.subject = variables, subject
    self.preprocessing = Preprocessing.of(config)
    if variables is not None and not _all_finite(variables):  # a ReLU would turn them into zeros
      raise UserError(f"the weights of the {subject} network are not finite; nothing can be measured")

  @functools.cached_property
  def reference(self) -> Features:
    """The k-NN reference set, which classifiers are also trained on."""
    protocol = self._protocol("reference", self.splits.reference)
    if groups := self.class_groups:
      protocol["reference_balanced_classes"] = sum(map(len, groups.values()))
    return Features(self.features(self.splits.reference), _labels(self.splits.reference), protocol)

  @functools.cached_property
  def test(self) -> Features | None:
    """The test set; None if there is none: then each image of the reference set is compared with the others."""
    split = self.splits.test
    return None if split is None else Features(self.features(split), _labels(split), self._protocol("test", split))

  def _protocol(self, role: str, split: Dataset) -> dict[str, Scalar]:
    name = dataset_name(split.source.name, self.config.data)
    return {role: name, f"{role}_images": len(split)} | self.shown

  @property
  def shown(self) -> dict[str, Scalar]:
    """The part of a protocol about the images as the network sees them."""
    fields: dict[str, Scalar] = {"image_size": self.preprocessing.size}
    return fields | ({"resize": self.preprocessing.resize} if self.preprocessing.resize else {})

  @property
  def class_groups(self) -> Mapping[str, np.ndarray]:
    """Groups of classes that are also measured by themselves: "head" and "tail" of an unbalanced training set."""
    return self.splits.class_groups

  @property
  def classes(self) -> tuple[str, ...]:
    """The names of the classes."""
    return self.splits.reference.source.classes

  def features(self, split: Dataset) -> np.ndarray:
    """Computes float32 [n, f] of every image of a split. Raises UserError if they are not finite."""
    made = self._run(split, "features")
    if not np.isfinite(made).all():
      count = (~np.isfinite(made)).any(1).sum()
      raise UserError(f"the features of {count} of {len(made)} images are not finite (subject: {self.subject})")
    return made

  def layers(self, split: Dataset) -> dict[str, np.ndarray]:
    """Computes float32 [n, d] of the encoder's output and every layer of the projector, for every image of a split."""
    return self._run(split, "layers")

  def _run(self, split: Dataset, output: "Output") -> Any:
    apply = functools.partial(_apply, self.network, self.preprocessing, output, self.variables, store=split.resident)
    return extract(self.mesh, apply, in_order(self.config, self.mesh, split, self.preprocessing.size))


def dataset_name(name: str, data: DataConfig) -> str:
  """Returns the name of a source without the folders of this machine above `data.path` or `data.test_path`."""
  for path in filter(None, (data.path, data.test_path)):
    whole = paths.absolute(path)
    if os.sep in whole and (name == whole or name.startswith(whole + os.sep)):
      return os.path.basename(whole) + name[len(whole) :]
  return name


Output = Literal["features", "layers", "tokens"]


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _apply(
  network: Network,
  preprocessing: Preprocessing,
  output: Output,
  variables: Variables | None,
  stored: Array,
  store: Array | None = None,
) -> PyTree:
  """Computes an output of stored images; raw pixels without variables. Compiled once for all subjects of a run."""
  if variables is None:
    return preprocessing.raw().on_device(stored, store).reshape(len(stored), -1)
  images = preprocessing.on_device(stored, store)
  if output == "layers":
    return network.layers(variables, images)
  return network.tokens(variables, images) if output == "tokens" else network.encode(variables, images)


@jax.jit
def _all_finite(tree: PyTree) -> Array:
  return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]))


def _labels(split: Dataset) -> np.ndarray:
  labels = split.source.labels
  return np.full(len(split), -1, np.int32) if labels is None else labels


def labeled_test(extractor: FeatureExtractor, evaluation: str) -> Features:
  """Returns the test set's features. Raises UserError if there is no test set, or it has a class that the reference lacks."""
  reference, test = extractor.reference, extractor.test
  if test is None:
    raise UserError(f"{evaluation} needs a test set, and there is none; set data.test_path")
  missing = sorted(set(test.labels.tolist()) - set(reference.labels.tolist()))
  if missing:
    names = ", ".join(extractor.classes[c] for c in missing[:3])
    raise UserError(f"{len(missing)} classes of the test set have no image in the reference set, e.g. {names}")
  return test


def by_group(
  metric: Metric, right: np.ndarray, labels: np.ndarray, groups: Mapping[str, np.ndarray]
) -> list[tuple[Metric, float, dict[str, Scalar]]]:
  """Returns (metric, top-1 accuracy in percent, addition to the protocol), then one such entry for each group of classes.

  right: bool [n]; labels: int32 [n]. The accuracy of a group is the mean over its classes; classes without images are
  skipped.
  """
  found: list[tuple[Metric, float, dict[str, Scalar]]] = [(metric, 100.0 * float(right.mean()), {})]
  for group, classes in groups.items():
    of_class = [right[labels == c].mean() for c in classes if (labels == c).any()]
    if of_class:
      addition: dict[str, Scalar] = {"mean_over_classes": group, "classes": len(classes)}
      found.append((metric.variant(group, f"{group} classes"), 100.0 * float(np.mean(of_class)), addition))
  return found


# One evaluation batch: images [b, h, w, c] as stored, or int32 [b] positions in resident images, of the rows of this process;
# bool [b] mask of all rows.
Batches = Iterable[tuple[np.ndarray, np.ndarray]]


def extract(mesh: Mesh, encode: Callable[[Array], PyTree], batches: Batches) -> Any:
  """Runs a jitted `encode` over all batches: its tree of [b, ...] as one of float32 [n, ...] in order, without the padding.

  A batch is fetched once the next one is dispatched, so devices do not wait and hold at most two batches.
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


def encode(
  config: Config, mesh: Mesh, network: Network, variables: Variables, images: Source, patches: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
  """Computes float32 [n, f] of images of any size and, with `patches`, float32 [n, p, f] of their patches, row by row.

  The host resizes each image, whatever data.placement is. `variables` are on the devices.
  Raises UserError for `patches` of a network without them, and if evals.size and evals.resize do not fit each other.
  """
  shown = Preprocessing.of(config)
  index, mask = sampler.eval_plan(len(images), padded_rows(min(config.evals.batch_size, len(images)), mesh))
  own = local_slice(mesh, index.shape[1])
  read = input_pipeline.inference(images, index[:, own], mask[:, own], shown.resize, shown.size, config.data.workers)
  apply = functools.partial(_apply, network, shown, "tokens" if patches else "features", variables)
  made = extract(mesh, apply, zip(read, mask, strict=True))
  return (made[:, 0], made[:, 1:]) if patches else (made, None)
