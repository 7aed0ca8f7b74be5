"""Opens the datasets of a run, for training and for evaluation, from the `data` group of its config."""

import dataclasses
import pathlib
import textwrap
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxssl.augment import pipeline
from jaxssl.config.schema import Config, DataConfig
from jaxssl.core import LOG, UserError
from jaxssl.core.rng import generator
from jaxssl.core.types import Array
from jaxssl.data import holdout, imbalance, input_pipeline, value_range, worker_pool
from jaxssl.data import numpy_files as _numpy  # noqa: F401  importing a file registers its source
from jaxssl.data import parquet as _parquet  # noqa: F401
from jaxssl.data import tfds as _tfds  # noqa: F401
from jaxssl.data import tfrecord as _tfrecord  # noqa: F401
from jaxssl.data import webdataset as _webdataset  # noqa: F401
from jaxssl.data.folder import FolderSource
from jaxssl.data.image_io import Decoder
from jaxssl.data.inputs import as_source
from jaxssl.data.open_folder import open_whole
from jaxssl.data.packed import PackedSource
from jaxssl.data.packed_manifest import is_packed
from jaxssl.data.source import FIELDS, SOURCES, DataInput, Source, Subset
from jaxssl.data.unreadable import SubstituteUnreadable
from jaxssl.data.worker_pool import WorkerPool
from jaxssl.parallel.mesh import global_rows, local_slice, padded_rows, replicate

Arrays = Mapping[str, DataInput]  # "train", and optionally "test"


@dataclasses.dataclass(frozen=True)
class Dataset:
  """Images of one set. `resident`: all of them on the devices, [n, h, w, c] as read, with data.placement=device.

  `pool`: the processes that read them, with data.placement=host; None: threads do.
  """

  source: Source
  resident: Array | None = None
  pool: WorkerPool | None = None

  def __len__(self) -> int:
    return len(self.source)

  def subset(self, rows: np.ndarray) -> "Dataset":
    """Returns the images at `rows`, int [m], in that order."""
    return Dataset(Subset(self.source, rows), None if self.resident is None else self.resident[rows], self.pool)

  def labeled(self) -> "Dataset":
    """Returns the images whose class is known; all if that is none or all of them."""
    labels = self.source.labels
    known = np.arange(0) if labels is None else np.flatnonzero(labels >= 0)
    return self if len(known) in (0, len(self)) else self.subset(known)


class OtherImages(NamedTuple):
  """Identifies images that are not those that a run is trained and tested on."""

  name: str
  digest: str  # of all sets


@dataclasses.dataclass(frozen=True, kw_only=True)
class Datasets:
  """The three sets of a run. `config`: the `data` that they were opened with, whose bit_depth is decided."""

  config: DataConfig
  train: Dataset
  reference: Dataset  # evaluations compare with it or train on it; the same as `train` unless data.imbalance is set
  test: Dataset | None  # None without a test set
  class_groups: Mapping[str, np.ndarray]  # "head", "tail" -> classes that are also evaluated as a group; empty if balanced
  test_trained_on: int = 0  # how many of the test images the run was trained on
  held_out: float = 0.0  # the share of each class that was drawn by `seed` as the test set
  seed: int = 0
  other: OtherImages | None = None  # None: the run's own images

  @property
  def sources(self) -> list[Source]:
    """The images of each set, once."""
    return list({id(dataset): dataset.source for dataset in (self.train, self.reference, self.test) if dataset}.values())

  @property
  def unreadable(self) -> set[str]:
    """Names of the images that this process failed to read so far."""
    return {name for source in self.sources if isinstance(source, SubstituteUnreadable) for name in source.unreadable.values()}

  def on_devices(self, config: Config, mesh: Mesh) -> "Datasets":
    """Returns the datasets with `resident` arrays if data.placement=device. Reads all images, which may take minutes.

    With data.placement=host, starts the processes that read them. Raises UserError if the images do not fit the views.
    """
    if config.data.placement == "host":
      return self._with_pool(worker_pool.open_pool(self.sources, config.data))

    def place(dataset: Dataset) -> Dataset:
      rows = padded_rows(len(dataset), mesh)
      own = local_slice(mesh, rows)
      images = input_pipeline.resident(dataset.source, config.data.resident_size, config.data.workers, own)
      pipeline.check(config.views, images.shape[1:3])
      if jax.process_count() == 1:
        return Dataset(dataset.source, replicate(mesh, images))
      missing = own.stop - own.start - len(images)  # rows of padding, which the last process has
      images = np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)])
      return Dataset(dataset.source, replicate(mesh, global_rows(mesh, images)))

    return self._placed(place)

  def _with_pool(self, pool: WorkerPool | None) -> "Datasets":
    return self._placed(lambda dataset: dataclasses.replace(dataset, pool=pool)) if pool else self

  def _placed(self, place: Callable[[Dataset], Dataset]) -> "Datasets":
    train = place(self.train)
    reference = train if self.reference is self.train else place(self.reference)
    return dataclasses.replace(self, train=train, reference=reference, test=self.test and place(self.test))


def open_datasets(
  config: DataConfig,
  seed: int,
  arrays: Arrays | None = None,
  workdir: str | pathlib.Path | None = None,
  held_out: float = 0.0,
) -> Datasets:
  """Opens the images to train on and to evaluate with; reads a sample of them if `data.bit_depth` is to be decided.

  `arrays`: the images of data.source=array, "train" and optionally "test".
  `data.limit` keeps the first images of a shuffle by `seed`. Unreadable images are listed in `workdir`.
  `held_out`: `evals.holdout`, the share of each class that becomes the test set, drawn by `seed`, and is not trained on.
  Raises UserError for values of `config` that do not fit the images.
  """
  sources, groups, config = _select(config, seed, arrays, held_out)
  opened = {}
  for name, source in sources.items():
    LOG.info("%s: %d images, %d classes, from %s", name, len(source), len(source.classes), source.name)
    opened[name] = Dataset(SubstituteUnreadable(source, workdir))
  train = opened["train"]
  reference, test = opened.get("k-NN reference", train), opened.get("test")
  sets = {"train": train, "reference": reference, "test": test}
  return Datasets(config=config, class_groups=groups, held_out=held_out, seed=seed, **sets)


def _check_fields(config: DataConfig) -> None:
  """Raises UserError for a field that the source does not read or lacks, and for channel statistics that do not fit."""
  fields = FIELDS[config.source]
  for field in ("path", "test_path", "list_path", "stage"):
    if field not in fields and (value := getattr(config, field)):
      readers = " or ".join(sorted((source for source, known in FIELDS.items() if field in known), key=lambda x: x != "folder"))
      problem = f"data.source={config.source} does not read it; leave it empty, or use data.source={readers}"
      raise UserError(f"data.{field}={value}: {problem}")
  if "path" in fields and not config.path:
    raise UserError(f"data.path is empty; data.source={config.source} needs it")
  if config.source != "packed" and "path" in fields and is_packed(config.path):
    raise UserError(f"data.path={config.path}: a packed dataset, but data.source={config.source}; set data.source=packed")
  if config.channels < 1:
    raise UserError(f"data.channels={config.channels}: expected at least 1")
  for field in ("mean", "std"):
    values = getattr(config, field)
    if len(values) not in (0, 1, config.channels):
      expected = f"one value, one per channel (data.channels={config.channels}), or none to measure it"
      raise UserError(f"data.{field}={values}: expected {expected} (--config.data.{field}=)")
  if min(config.std, default=1) <= 0:
    raise UserError(f"data.std={config.std}: expected values above 0")


def open_whole_sets(config: DataConfig, arrays: Arrays | None = None) -> tuple[Source, Source | None, np.ndarray | None]:
  """Opens all training and test images, and finds the positions of those that `data.list_path` names (None without a list).

  Raises UserError for values of `config` that do not fit the images.
  """
  opener = SOURCES.find(config.source)
  _check_fields(config)
  if config.source == "array" and arrays:
    images, name = (arrays["train"], arrays.get("test")), "{} array"
  else:
    images, name = opener(config), f"{config.source} {{}}"
  decoder = Decoder.of(config)
  whole = as_source(images[0], name.format("train"), decoder)
  test = None if images[1] is None else as_source(images[1], name.format("test"), decoder, whole.classes)
  for source in (whole, test):
    if source is not None and not len(source):
      raise UserError(f"{source.name}: there are no images; expected at least one")
  if not config.list_path or not isinstance(whole, FolderSource | PackedSource):
    return whole, test, None
  return whole, test, whole.listed(config.list_path)


def _select(
  config: DataConfig, seed: int, arrays: Arrays | None, held_out: float
) -> tuple[dict[str, Source], dict[str, np.ndarray], DataConfig]:
  """Applies data.list_path, evals.holdout, data.imbalance and data.limit, and decides data.bit_depth.

  Returns the sets that differ, by name, the class groups, and the config with that decision.
  """
  whole, test, listed = open_whole_sets(config, arrays)
  reference, groups = None, {}
  if held_out:
    whole, test, listed = holdout.divide(whole, test, listed, held_out, seed)
  train = whole if listed is None else Subset(whole, listed)
  if config.imbalance.kind != "none":
    trained, referenced, groups = imbalance.draw(whole.labels, whole.classes, config.imbalance, listed)
    train, reference = Subset(whole, trained), Subset(whole, referenced)
    for name, classes in groups.items():
      shown = textwrap.shorten(", ".join(whole.classes[c] for c in classes), 100, placeholder=" ...")
      LOG.info("%d %s classes: %s", len(classes), name, shown)
  if config.limit > len(train):
    LOG.info("data.limit=%d: all %d training images are used", config.limit, len(train))
  if config.limit:
    train = Subset(train, generator(seed, "limit").permutation(len(train))[: config.limit])
  if train is not whole and train.labels is not None and test is not None and test.labels is not None:
    if groups:
      rows = imbalance.balanced(test.labels, np.unique(train.labels), whole.classes, config.imbalance.seed)
    else:
      rows = np.flatnonzero(np.isin(test.labels, train.labels))
      if not len(rows):
        field = f"data.limit={config.limit}" if config.limit else f"data.list_path={config.list_path}"
        raise UserError(f"{field}: no image of {test.name} is of a class that is trained on; expected images of shared classes")
      if len(rows) < len(test):
        LOG.info("test: %d images of classes without training images are left out", len(test) - len(rows))
    test = Subset(test, rows)
  sources = {"train": train, "k-NN reference": reference, "test": test}
  sources = {name: source for name, source in sources.items() if source is not None}
  config = value_range.settled(config, train)
  for source in sources.values():
    if getattr(source, "decoder", None):
      source.use(Decoder.of(config))
    if source is not train:
      value_range.check(config, source)
  return sources, groups, config


def open_splits(config: DataConfig, seed: int, whole: bool, held_out: float = 0.0) -> dict[str, Source]:
  """Opens the images of `config` by split; `whole`: all images of a folder, also those in neither train nor test.

  Raises UserError for values of `config` that do not fit the images.
  """
  selected = config.test_path or config.list_path or config.limit or config.imbalance.kind != "none"
  if whole and config.source == "folder" and config.path and not selected:
    return dict(open_whole(config))
  sources, _, _ = _select(config, seed, None, held_out)
  return {name: source for name, source in sources.items() if name in ("train", "test")}
