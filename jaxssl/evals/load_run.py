"""Loads a run from its workdir: config, weights and datasets, for evaluations, `embed`, exports and reports."""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxssl.augment import pipeline
from jaxssl.config import plugins
from jaxssl.config.load import changed
from jaxssl.config.parse import read
from jaxssl.config.schema import Config
from jaxssl.core import LOG, UserError
from jaxssl.core.rng import jax_key
from jaxssl.core.types import Variables
from jaxssl.data import datasets, identity, resident_size
from jaxssl.data.packed_manifest import is_packed
from jaxssl.data.source import Source
from jaxssl.data.unreadable import SkipUnreadable
from jaxssl.data.worker_pool import WorkerPool
from jaxssl.evals import other_images
from jaxssl.evals.evaluator import Evaluator, network_of
from jaxssl.evals.features import FeatureExtractor, Output, compute
from jaxssl.evals.preprocessing import Preprocessing, image_shape
from jaxssl.models import network
from jaxssl.parallel.mesh import compute_precision, make_mesh, replicate
from jaxssl.pretrained import init_from
from jaxssl.workdir import manifest
from jaxssl.workdir.checkpoint import Checkpoints
from jaxssl.workdir.image_changes import changes_since
from jaxssl.workdir.workdir import Workdir

OF_THE_NETWORK = ("channels", "bit_depth", "mean", "std")  # fields that the weights were trained with

SELECTING = ("data.source", "data.path", "data.list_path", "data.imbalance", "data.limit", "evals.holdout")  # training images


def read_config(workdir: pathlib.Path, changes: Mapping[str, Any] | None = None) -> Config:
  """Reads a workdir's config and changes fields of `evals` and `data`, by dotted path: {"evals.knn.k": (1, 20)}.

  Raises UserError if there is no run, if another version of jaxssl wrote it, or for a field that cannot be changed.
  """
  fields, changes = Workdir(workdir).read_config(), dict(changes or {})
  try:
    config = read(Config, fields)
  except UserError as error:
    raise UserError(f"--workdir {workdir} was written by another version of jaxssl ({error}); train again") from error
  for plugin in config.plugins:
    plugins.use(plugin, trusted=False)
  for name in changes:
    if not name.startswith(("evals.", "data.")):
      raise UserError(f"{name}: cannot change after training; expected a field of evals or data")
    if name.removeprefix("data.") in OF_THE_NETWORK:
      value = fields.get("data", {}).get(name.removeprefix("data."))
      raise UserError(f"{name}: cannot change after training; the network was trained with {name}={value}")
  if names_other_images(changes):
    unchanged = ("placement", "resident_size", "workers", "max_pixels", "allow_truncated", *OF_THE_NETWORK)
    fields["data"] = {name: value for name, value in fields.get("data", {}).items() if name in unchanged}
    fields["evals"] = fields.get("evals", {}) | {"holdout": 0.0}
    if "data.source" not in changes:
      changes["data.source"] = "packed" if is_packed(str(changes["data.path"])) else "folder"
  settled = read(Config, changed(fields, changes))
  if settled.evals.holdout not in (0, config.evals.holdout) and not names_other_images(changes):
    value, ours = settled.evals.holdout, config.evals.holdout
    expected = f"expected {ours:g}, or 0 for no test set" if ours else "expected 0, or the path of other images"
    raise UserError(f"evals.holdout={value:g}: would test on images that the run was trained on; {expected}")
  return settled


def names_other_images(changes: Mapping[str, Any]) -> bool:
  """Returns whether changed fields name other images, in which case the run's own fields about images do not apply."""
  return "data.source" in changes or "data.path" in changes


def selects_images(changes: Mapping[str, Any]) -> bool:
  """Returns whether changed fields may select other training images than the run's, by whatever means."""
  return any(name.startswith(SELECTING) for name in changes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadedRun:
  """A run after `step` steps: decides which network, image size and preprocessing it is evaluated with."""

  workdir: Workdir
  config: Config
  mesh: Mesh
  network: network.Network
  which: str  # the network that `evals.network` names: teacher or student
  variables: Variables  # its weights, on all devices
  step: int
  open_evaluator: Callable[[], Evaluator]  # see `evaluator`

  @property
  def preprocessing(self) -> Preprocessing:
    """The preprocessing of images for the network."""
    return Preprocessing.of(self.config)

  @functools.cached_property
  def fingerprint(self) -> str:
    """A hash of the weights."""
    return hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(self.variables))).hexdigest()[:16]

  def embed(
    self, source: Source, rows: np.ndarray | None = None, output: Output = "encode", pool: WorkerPool | None = None
  ) -> tuple[np.ndarray, list[int]]:
    """Computes features [n, f], or tokens [n, 1 + p, f], of `rows` (default: all); lists the positions of unreadable images.

    Unreadable images have no features. The host resizes each image, whatever data.placement is. `pool`: processes that read
    the images; None: threads do.
    """
    rows = np.arange(len(source)) if rows is None else rows
    images = SkipUnreadable(source, rows, self.preprocessing.resident_size)
    features = compute(self.config, self.mesh, self.network, self.variables, datasets.Dataset(images, pool=pool), output)
    unreadable = sorted(images.unreadable)
    return np.delete(features, unreadable, axis=0), unreadable

  @functools.cached_property
  def evaluator(self) -> Evaluator:
    """The evaluator of the run; its datasets are opened on first use. Raises UserError if they cannot be opened."""
    return self.open_evaluator()

  @functools.cached_property
  def extractor(self) -> FeatureExtractor:
    """The input of evaluations for the network that `evals.network` names."""
    return self.evaluator.extractor(self.variables, self.which)

  @functools.cached_property
  def initial(self) -> Variables:
    """The network before its first step, rebuilt from the seed and `model.init_from`."""
    key, shape = jax_key(self.config.train.seed, "weights"), image_shape(self.config)  # as TrainStep.init
    first = jax.jit(lambda: self.network.init(key, shape))()
    imported = init_from.load(self.config.model, self.network, shape, self.workdir.folder)
    first = first if imported is None else init_from.filled(imported, first)
    return replicate(self.mesh, first)

  @functools.cached_property
  def untrained(self) -> FeatureExtractor:
    """The input of evaluations for the network before its first step."""
    return self.evaluator.extractor(self.initial, self.evaluator.untrained)


def load(
  workdir: pathlib.Path,
  config: Config | None = None,
  step: int | None = None,
  arrays: datasets.Arrays | None = None,
  encoder: Any = None,
  own_images: bool = True,
) -> LoadedRun:
  """Opens a run's weights after `step` steps (default: the newest); its datasets are opened when they are needed.

  `config`: the run's own, by default, or `read_config` with changes; `encoder`: a flax module, for model.name=custom.
  `arrays`: images of the calling program, for data.source=array.
  `own_images`: the training images must be those of the run when they are opened.
  Raises UserError if there is no such run or checkpoint, or the checkpoint does not fit the config.
  """
  config = config or read_config(workdir)
  folder, mesh, which = Workdir(workdir), make_mesh(), network_of(config)
  student, teacher, step = Checkpoints(folder.checkpoints, config.train.max_to_keep).weights(step)
  pipeline.check(config.views, None)
  shape = image_shape(config)
  built = network.build(config.model, compute_precision(mesh, config.train.precision), shape[0], encoder)
  variables = student if which == "student" else teacher
  if variables is None or not _fits(jax.eval_shape(lambda: built.init(jax.random.key(0), shape)), variables):
    raise UserError(f"checkpoint {step} in {workdir} holds another network than its {folder.config.name} describes")

  def evaluator() -> Evaluator:
    opened = datasets.open_datasets(config.data, config.train.seed, arrays, held_out=config.evals.holdout)
    opened = _require_unchanged(folder, opened) if own_images else _compared(folder, opened, step)
    data = resident_size.settled(opened.config, config.views, opened.sources)  # of other images, it may differ from the run's
    settled = dataclasses.replace(config, data=data)
    return Evaluator(settled, mesh, opened.on_devices(settled, mesh), built)

  weights: Any = {"which": which, "variables": replicate(mesh, variables), "step": step}
  return LoadedRun(workdir=folder, config=config, mesh=mesh, network=built, open_evaluator=evaluator, **weights)


def _require_unchanged(workdir: Workdir, opened: datasets.Datasets) -> datasets.Datasets:
  """Counts the test images that are trained on, names a test set that is not the run's, and warns if that has changed.

  Raises UserError if the training images are not those of the run; a run of an older version does not know.
  """
  versions = manifest.read(workdir)
  images, others = identity.manifests(opened)
  if versions and (changes := changes_since(workdir, versions[-1], images)):
    raise UserError(
      f"--workdir {workdir.folder}: the training images have changed: {changes}. Restore them, or evaluate on a folder "
      "as it is by --data.path=FOLDER"
    )
  own = read_config(workdir.folder)
  ours = own.data.test_path == opened.config.test_path
  if not ours:
    opened = other_images.named(workdir, own, opened, images, others)
  if ours and versions and (test := versions[-1].other_sets.get("test")) and "test" in others and others["test"].digest != test:
    LOG.warning("the images of the test set have changed since the run: measurements before and after are not comparable")
  return identity.own_counted(opened, images, others)


def _compared(workdir: Workdir, opened: datasets.Datasets, step: int) -> datasets.Datasets:
  """Names images other than the run's, and counts the test images that it was trained on until `step`.

  What cannot be read is a warning.
  """
  own = read_config(workdir.folder)
  images, others = identity.manifests(opened)
  opened = other_images.named(workdir, own, opened, images, others)
  if opened.test is None:
    return opened
  root = own.data.path
  try:
    versions = [v for k, v in enumerate(manifest.read(workdir)) if v.step < step or not k]
    trained = [(manifest.load(workdir, version), root) for version in versions]
  except UserError as error:
    LOG.warning("whether the run was trained on test images is not known: %s", error)
    return opened
  return identity.counted(opened, trained, others["test"])


def _fits(expected: Variables, variables: Variables) -> bool:
  """Returns whether modules have the shapes that the network has; a teacher may lack modules other than the encoder."""
  modules = [{name: tree[name] for name in tree if name in variables.params} for tree in (expected.params, expected.stats)]
  stored = [dict(variables.params), dict(variables.stats)]
  expected_shapes, shapes = (jax.tree.map(lambda x: x.shape, trees) for trees in (modules, stored))
  return "encoder" in variables.params and expected_shapes == shapes
