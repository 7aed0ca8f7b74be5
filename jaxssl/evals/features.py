"""Registers evaluations, and computes what they measure: features of datasets by a network, or raw pixels."""

import dataclasses
import functools
import itertools
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxssl.config.schema import Config, DataConfig
from jaxssl.core import Registry, UserError, paths
from jaxssl.core.log import note_progress
from jaxssl.core.metric import Measurement, Metric, Scalar
from jaxssl.core.types import Array, PyTree, Variables
from jaxssl.data import input_pipeline
from jaxssl.data.datasets import Dataset, Datasets
from jaxssl.evals import raw_pixels
from jaxssl.evals.preprocessing import Preprocessing
from jaxssl.models.network import Network
from jaxssl.parallel import preemption
from jaxssl.parallel.mesh import global_rows, local_slice, padded_rows, to_host

Output = Literal["encode", "layers", "tokens", "patches"]  # methods of Network
MANY = 200_000  # images; of more, baselines are measured by what takes little time and memory


class Features(NamedTuple):
  """The features of a dataset."""

  x: np.ndarray  # float32 [n, f]
  labels: np.ndarray  # int32 [n]; -1 throughout without labels
  protocol: Mapping[str, Scalar]  # names the dataset: {"test": "mnist5k", "test_images": 1000}


all_finite = jax.jit(lambda tree: jax.tree.reduce(jnp.logical_and, jax.tree.map(lambda x: jnp.isfinite(x).all(), tree)))


@dataclasses.dataclass(frozen=True)
class FeatureExtractor:
  """The input of every evaluation: a network and the datasets of a run. Raises UserError for weights that are not finite."""

  config: Config
  mesh: Mesh
  datasets: Datasets
  network: Network
  variables: Variables | None  # None: features are raw pixels
  subject: str  # teacher, student, untrained, imported or raw_pixels

  def __post_init__(self) -> None:
    if self.variables is not None and not all_finite(self.variables):  # a ReLU would turn them into zeros
      raise UserError(f"the weights of the {self.subject} network are not finite; nothing can be measured")

  @functools.cached_property
  def preprocessing(self) -> Preprocessing:
    """The preprocessing of images for the network."""
    return Preprocessing.of(self.config)

  @functools.cached_property
  def reference(self) -> Features:
    """The k-NN reference set, which classifiers are also trained on."""
    groups = self.datasets.class_groups.values()
    more = {"reference_balanced_classes": sum(map(len, groups))} if groups else {}
    return self._features("reference", self.datasets.reference, **more)

  @functools.cached_property
  def test(self) -> Features | None:
    """The test set, or None; then each image of the reference set is compared with the others."""
    if self.datasets.test is None:
      return None
    share, seed = self.datasets.held_out, self.datasets.seed
    drawn = {"test_held_out": share, "test_seed": seed} if share else {}  # which define the set
    trained_on = self.datasets.test_trained_on
    return self._features("test", self.datasets.test, **drawn, **({"test_trained_on": trained_on} if trained_on else {}))

  def _features(self, role: str, dataset: Dataset, **more: Scalar) -> Features:
    name, prep = dataset_name(dataset.source.name, self.config.data), self.preprocessing
    protocol = {role: name, f"{role}_images": len(dataset), **more, "image_size": prep.size}
    protocol |= {"resize": prep.resize} if prep.resize else {}
    protocol |= {"interpolation": prep.interpolation} if prep.interpolation != "bicubic" else {}
    protocol |= {"resident_size": prep.resident_size} if prep.resident_size else {}
    return Features(self.features(dataset), labels_of(dataset), protocol)

  @property
  def classes(self) -> tuple[str, ...]:
    """The names of the classes; their numbers if the images have labels without names."""
    labels = labels_of(self.datasets.reference)
    return self.datasets.reference.source.classes or tuple(map(str, range(labels.max(initial=-1) + 1)))

  def with_seed(self, seed: int) -> "FeatureExtractor":
    """Returns the same features for evaluations that draw random numbers by another seed than the run's."""
    config = dataclasses.replace(self.config, train=dataclasses.replace(self.config.train, seed=seed))
    other = dataclasses.replace(self, config=config)
    vars(other).update({name: value for name, value in vars(self).items() if name in ("reference", "test")})
    return other

  @functools.cached_property
  def _by_blocks(self) -> dict[int, "FeatureExtractor"]:
    return {self.network.blocks: self}

  def with_blocks(self, count: int, field: str) -> "FeatureExtractor":
    """Returns the same for features that are the class tokens of the last `count` blocks; see `Network.with_blocks`."""
    if count not in self._by_blocks:
      network = self.network.with_blocks(count, field) if self.variables is not None else self.network
      self._by_blocks[count] = dataclasses.replace(self, network=network)
    return self._by_blocks[count]

  def features(self, dataset: Dataset, output: Output = "encode") -> Any:
    """Computes float32 [n, f] of every image, or another output, see `compute`. Raises UserError if not finite."""
    features = compute(self.config, self.mesh, self.network, self.variables, dataset, output)
    if wrong := max(int((~np.isfinite(x)).any(tuple(range(1, x.ndim))).sum()) for x in jax.tree.leaves(features)):
      raise UserError(f"the features of {wrong} of {len(dataset)} images are not finite (subject: {self.subject})")
    return features


Measure = Callable[[FeatureExtractor], list[Measurement]]
LABELS, TEST_SET = "labels", "a test set (data.test_path, or evals.holdout in training)"
EVALUATIONS: Registry[Measure] = Registry("evaluation")
NEEDS: dict[str, set[str]] = {}  # of LABELS and TEST_SET; without them a run skips the evaluation
RANDOM: set[str] = set()  # evaluations whose values depend on `train.seed` also for the same features


def evaluation(
  name: str, *, labels: bool = False, test_set: bool = False, random: bool = False
) -> Callable[[Measure], Measure]:
  """Returns a decorator that registers an evaluation, which declares its metrics and its needs, under the name in `evals`.

  `random`: its values depend on `train.seed` also for the same features, so that raw pixels are measured with several seeds.
  """

  def add(measure: Measure) -> Measure:
    EVALUATIONS.register(name)(measure)  # first, since it may refuse the name
    NEEDS[name] = {need for need, needed in ((LABELS, labels), (TEST_SET, test_set)) if needed}
    if random:
      RANDOM.add(name)
    return measure

  return add


def dataset_name(name: str, data: DataConfig) -> str:
  """Returns the name of a source without the folders of this machine above `data.path` or `data.test_path`."""
  for path in filter(None, (data.path, data.test_path)):
    root = paths.absolute(path)
    if os.sep in root and (name == root or name.startswith(root + os.sep)):
      return os.path.basename(root) + name[len(root) :]
  return name


def compute(
  config: Config, mesh: Mesh, network: Network, variables: Variables | None, dataset: Dataset, output: Output = "encode"
) -> Any:
  """Computes an output of a network, or raw pixels (`variables` None), for every image of a dataset: float32 [n, ...].

  "encode": features [n, f]; "layers": a dict of [n, d] by layer; "tokens": [n, 1 + patches, f]; "patches": [n, r, c, f].
  Raises UserError for tokens or patches of a network without them, and if evals.size and evals.resize do not fit each other.
  """
  preprocessing = Preprocessing.of(config)
  apply = functools.partial(_apply, network, preprocessing, output, variables, dataset.resident)
  stored = in_batches(mesh, len(dataset), config.evals.batch_size)
  if dataset.resident is None:
    shape = preprocessing.resize, preprocessing.size, preprocessing.interpolation
    stored = input_pipeline.inference(dataset.source, stored, *shape, config.data.workers, dataset.pool)
  return extract(mesh, apply, stored, len(dataset))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _apply(
  network: Network, prep: Preprocessing, output: Output, variables: Variables | None, store: Array | None, stored: Array
) -> PyTree:
  if variables is None and output == "patches":
    return raw_pixels.of_patches(network, prep, stored, store)
  if variables is None:
    return raw_pixels.of_images(prep, stored, store)
  return getattr(network, output)(variables, prep.on_device(stored, store))


def labels_of(dataset: Dataset) -> np.ndarray:
  """Returns int32 [n], -1 if unknown."""
  labels = dataset.source.labels
  return np.full(len(dataset), -1, np.int32) if labels is None else labels


def labeled_test(extractor: FeatureExtractor) -> Features:
  """Returns the test set's features. Raises UserError if it has a class that the reference set lacks."""
  test = extractor.test
  assert test is not None  # see NEEDS
  check_classes(test.labels, extractor.reference.labels, extractor.classes)
  return test


def check_classes(test: np.ndarray, reference: np.ndarray, names: tuple[str, ...]) -> None:
  """Raises UserError if labels of the test set, int [m], have a class that those of the reference set, int [n], lack."""
  missing = np.setdiff1d(test, reference)
  if len(missing):
    examples = ", ".join(names[c] if c < len(names) else str(c) for c in missing[:3].tolist())
    raise UserError(
      f"{len(missing)} classes of the test set have no image in the reference set, e.g. {examples}; add some, or remove theirs"
    )


def measurements(
  extractor: FeatureExtractor, values: Mapping[Metric, float], protocol: Mapping[str, Scalar], **chosen: Scalar
) -> list[Measurement]:
  """Returns measurements of the extractor's subject that share a protocol."""
  about: Any = {"subject": extractor.subject, "protocol": protocol, "chosen": chosen}
  return [Measurement(metric=metric, value=float(value), **about) for metric, value in values.items()]


def accuracies(
  extractor: FeatureExtractor, metric: Metric, guesses: np.ndarray, protocol: Mapping[str, Scalar], **chosen: Scalar
) -> list[Measurement]:
  """Measures top-1 accuracy in percent, then that of each group of classes; guesses: int [n], for the test or reference set.

  The accuracy of a group is the mean over its classes; classes without images are skipped.
  """
  labels = (extractor.test or extractor.reference).labels
  right = guesses == labels
  measured = measurements(extractor, {metric: 100 * right.mean()}, protocol, **chosen)
  for group, classes in extractor.datasets.class_groups.items():
    of_class = [right[labels == c].mean() for c in classes if (labels == c).any()]
    if of_class:
      of_group = {metric.variant(group, f"{group} classes"): 100 * sum(of_class) / len(of_class)}
      fields = {**protocol, "mean_over_classes": group, "classes": len(classes)}
      measured += measurements(extractor, of_group, fields, **chosen)
  return measured


def in_batches(mesh: Mesh, count: int, batch_size: int) -> np.ndarray:
  """Batches the numbers below `count`, in order: this process's, int32 [steps, b]; the padding at the end is -1."""
  size = padded_rows(min(batch_size, count), mesh)
  numbers = np.arange(-(-count // size) * size, dtype=np.int32)
  return np.where(numbers < count, numbers, -1).reshape(-1, size)[:, local_slice(mesh, size)]


def extract(mesh: Mesh, encode: Callable[[Any], PyTree], batches: Iterable[PyTree], count: int) -> Any:
  """Runs a jitted `encode` over all batches. Concatenates its trees of [b, ...] to one of [count, ...], without the padding.

  A batch holds arrays of this process's rows. Results are fetched after the next batch is dispatched, so devices do not wait
  and hold at most two batches. Raises StopRequested between batches.
  """

  def dispatch(rows: PyTree) -> PyTree:
    preemption.check()
    return encode(global_rows(mesh, rows))

  parts, done, began = [], 0, time.monotonic()
  for outputs, _ in itertools.pairwise(itertools.chain(map(dispatch, batches), [None])):
    parts.append(to_host(mesh, outputs))
    done += len(jax.tree.leaves(parts[-1])[0])
    note_progress(min(done, count), count, began)
  return jax.tree.map(lambda *pieces: np.concatenate(pieces)[:count], *parts)
