"""A run opened again: its config, its weights, its images."""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxssl import methods
from jaxssl.augment import pipeline
from jaxssl.config import plugins
from jaxssl.config.load import changed
from jaxssl.config.parse import read
from jaxssl.config.schema import Config
from jaxssl.core import json_io
from jaxssl.core.errors import UserError
from jaxssl.core.rng import jax_key
from jaxssl.core.types import Variables
from jaxssl.data import datasets
from jaxssl.evals.evaluator import Evaluator
from jaxssl.evals.features import FeatureExtractor
from jaxssl.models import network
from jaxssl.parallel.mesh import compute_precision, make_mesh, replicate
from jaxssl.pretrained import init_from
from jaxssl.workdir.checkpoint import Checkpoints
from jaxssl.workdir.workdir import CONFIG

OTHER_IMAGES = ("source", "path")  # whoever names these means other images: nothing of the old ones is kept
OF_THE_NETWORK = ("channels", "bit_depth", "mean", "std")  # what it sees: weights are good for these only


def read_config(workdir: pathlib.Path, changes: Mapping[str, Any] | None = None) -> Config:
  """Reads a workdir's config and changes fields of `evals` and `data`, by dotted path: {"evals.knn.k": (1, 20)}.

  Raises UserError if there is no run, if another version of jaxssl wrote it, or for a field that cannot be changed.
  """
  path = workdir / CONFIG
  if not path.exists():
    raise UserError(f"--workdir {workdir} holds no run: there is no {CONFIG}")
  fields, changes = json_io.read(path), dict(changes or {})
  try:
    plugins.load(read(Config, fields).plugins)
  except UserError as error:
    raise UserError(f"--workdir {workdir} was written by another version of jaxssl ({error}); train again") from error
  for name in changes:
    if not name.startswith(("evals.", "data.")):
      raise UserError(f"{name}: cannot change after training; expected a field of evals or data")
    if name.removeprefix("data.") in OF_THE_NETWORK:
      theirs = fields.get("data", {}).get(name.removeprefix("data."))
      raise UserError(f"{name}: cannot change after training; the network was trained with {name}={theirs}")
  if names_other_images(changes):
    kept = ("placement", "resident_size", "workers", *OF_THE_NETWORK)
    fields["data"] = {name: value for name, value in fields.get("data", {}).items() if name in kept}
    changes.setdefault("data.source", "folder")
  return read(Config, changed(fields, changes))


def open_run(
  workdir: pathlib.Path, config: Config, step: int | None = None, arrays: datasets.Arrays | None = None, encoder: Any = None
) -> tuple[Variables, Variables | None, int, Evaluator]:
  """Opens a run's weights and its images: student, teacher, their step, and what measures them."""
  mesh = make_mesh()
  built, student, teacher, step = open_network(workdir, config, step, encoder)
  images = datasets.open_datasets(config.data, config.train.seed, arrays).on_devices(config, mesh)
  measure = Evaluator(config, mesh, images, built, teacher is not None)
  return replicate(mesh, student), replicate(mesh, teacher), step, measure


def open_network(
  workdir: pathlib.Path, config: Config, step: int | None = None, encoder: Any = None
) -> tuple[network.Network, Variables, Variables | None, int]:
  """Opens a run's network without its images: the modules, the student and the teacher's weights, and their step."""
  student, teacher, step = Checkpoints(workdir / "checkpoints", config.train.max_to_keep).weights(step)
  group = methods.read_method(config.method).forward_spec.student[0].group
  pipeline.check(config.views, None)
  if group not in config.views:
    raise UserError(f"views.{group} is missing; method.name={config.method['name']} sees it")
  size = config.views[group].size
  precision = compute_precision(make_mesh(), config.train.precision)
  built = network.build(config.model, precision, size, encoder)
  shapes = jax.eval_shape(lambda: built.init(jax.random.key(0), (size, size, config.data.channels)))
  if not all(_fits(shapes, found) for found in (student, teacher) if found is not None):
    raise UserError(f"checkpoint {step} in {workdir} holds another network than the one in its {CONFIG}")
  return built, student, teacher, step


def _fits(shapes: Variables, found: Variables) -> bool:
  """Whether modules have the shapes that a network gives them; a teacher need not have all modules."""
  if "encoder" not in found.params:
    return False
  for ours, theirs in ((shapes.params, found.params), (shapes.stats, found.stats)):
    expected = {name: ours.get(name) for name in theirs}
    if jax.tree.map(lambda x: x.shape, expected) != jax.tree.map(lambda x: x.shape, dict(theirs)):
      return False
  return all(name in found.stats for name in shapes.stats if name in found.params)


def names_other_images(changes: Mapping[str, Any]) -> bool:
  """Whether changed fields name other images than those of the run."""
  return any(f"data.{name}" in changes for name in OTHER_IMAGES)


def fingerprint(variables: Variables) -> str:
  """Names weights by what they are."""
  digest = hashlib.sha256()
  for leaf in jax.tree.leaves(variables):
    digest.update(np.asarray(leaf).tobytes())
  return digest.hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class LoadedRun:
  """The weights of a run after `step` steps, and what measures them on its images."""

  student: Variables
  teacher: Variables | None
  step: int
  measure: Evaluator
  workdir: pathlib.Path

  @functools.cached_property
  def subject(self) -> FeatureExtractor:
    """The network that the config says is measured."""
    return self.measure.chosen(self.student, self.teacher)

  @functools.cached_property
  def before(self) -> FeatureExtractor:
    """The network before its first step, made again from the seed, and from what was imported, as `Run.init` makes it."""
    measure, config = self.measure, self.measure.config
    forward_spec = methods.read_method(config.method).forward_spec
    size, channels = config.views[forward_spec.student[0].group].size, config.data.channels
    key = jax_key(config.train.seed, "weights")
    first = jax.jit(lambda: measure.built.init(key, (size, size, channels)))()
    imported = init_from.load(config.model, measure.built, (size, size, channels), self.workdir)
    first = first if imported is None else init_from.put(first, imported)
    return measure.subject(replicate(measure.mesh, first), f"{measure.before}_network")


def load(workdir: pathlib.Path) -> LoadedRun:
  """Opens a run's newest weights and its images. Raises UserError where either cannot be read."""
  return LoadedRun(*open_run(workdir, read_config(workdir)), workdir)
