"""A run opened again: its config, its weights, its pictures."""

import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxssl import documents, flags, methods, parallel, splits
from jaxssl.checkpoint import Checkpoints
from jaxssl.config import Config
from jaxssl.data import sources
from jaxssl.evals.measure import Measure
from jaxssl.fields import read
from jaxssl.models import network
from jaxssl.schedules import Horizon
from jaxssl.types import UserError, Variables
from jaxssl.views import recipes
from jaxssl.workdir import CONFIG

OTHER_PICTURES = ("source", "path")  # whoever names these means other pictures: nothing of the old ones is kept
OF_THE_NETWORK = ("channels", "depth", "mean", "std")  # what it sees: weights are good for these only


def read_config(workdir: pathlib.Path, words: Sequence[str]) -> Config:
  """Reads a workdir's config, with evals.FIELD and data.FIELD changed. Raises UserError where there is none."""
  path = workdir / CONFIG
  if not path.exists():
    raise UserError(f"--workdir {workdir} holds no run: there is no {CONFIG}")
  fields = documents.read(path)
  try:
    read(Config, fields)
  except UserError as error:
    raise UserError(f"{path} is no config of this version: {error}") from error
  for word in words:
    if not word.startswith(("--evals.", "--data.", "--config.evals.", "--config.data.")):
      raise UserError(f"{word} is not allowed here; allowed: --workdir, --step, --evals.FIELD=VALUE, --data.FIELD=VALUE")
  changed: dict[str, Any] = {}
  flags.override(changed, ["--config." + word.removeprefix("--").removeprefix("config.") for word in words])
  for name in OF_THE_NETWORK:
    if name in changed.get("data", {}):
      raise UserError(
        f"data.{name} is not allowed here: the network was trained with data.{name}={fields.get('data', {}).get(name)}"
      )
  if any(name in changed.get("data", {}) for name in OTHER_PICTURES):
    kept = ("placement", "store_size", "workers", *OF_THE_NETWORK)
    fields["data"] = {name: value for name, value in fields.get("data", {}).items() if name in kept}
    changed["data"].setdefault("source", "folder")
  return read(Config, merged(fields, changed))


def merged(fields: Mapping, changed: Mapping) -> dict:
  """Gives nested fields with others in their place."""
  return {**fields, **{k: merged(fields.get(k, {}), v) if isinstance(v, Mapping) else v for k, v in changed.items()}}


def open_run(
  workdir: pathlib.Path, config: Config, step: int | None = None, arrays: sources.Arrays | None = None, encoder: Any = None
) -> tuple[Variables, Variables | None, int, Measure]:
  """Opens a run's weights and its pictures: online, teacher, their step, and what measures them."""
  mesh = parallel.make_mesh()
  built, online, teacher, step = open_network(workdir, config, step, encoder)
  pictures = splits.load(config, mesh, sources.open_sources(config.data, config.train.seed, arrays))
  measure = Measure(config, mesh, pictures, built, teacher is not None)
  return parallel.everywhere(mesh, online), parallel.everywhere(mesh, teacher), step, measure


def open_network(
  workdir: pathlib.Path, config: Config, step: int | None = None, encoder: Any = None
) -> tuple[network.Network, Variables, Variables | None, int]:
  """Opens a run's network without its pictures: the modules, the online and the teacher's weights, and their step."""
  online, teacher, step = Checkpoints(workdir / "checkpoints", config.train.keep).weights(step)
  group = methods.build(config.method, Horizon(steps_per_epoch=1, epochs=config.train.epochs)).passes.online[0].group
  recipes.check(config.views, None)
  if group not in config.views:
    raise UserError(f"views.{group} is missing; method.name={config.method['name']} sees it")
  size = config.views[group].size
  precision = parallel.compute_precision(parallel.make_mesh(), config.train.precision)
  built = network.build(config.model, precision, size, encoder)
  shapes = jax.eval_shape(lambda: built.init(jax.random.key(0), (size, size, config.data.channels)))
  if not all(_fits(shapes, found) for found in (online, teacher) if found is not None):
    raise UserError(f"checkpoint {step} in {workdir} holds another network than the one in its {CONFIG}")
  return built, online, teacher, step


def _fits(shapes: Variables, found: Variables) -> bool:
  """Whether modules have the shapes that a network gives them; a teacher need not have all modules."""
  if "encoder" not in found.params:
    return False
  for ours, theirs in ((shapes.params, found.params), (shapes.stats, found.stats)):
    expected = {name: ours.get(name) for name in theirs}
    if jax.tree.map(lambda x: x.shape, expected) != jax.tree.map(lambda x: x.shape, dict(theirs)):
      return False
  return all(name in found.stats for name in shapes.stats if name in found.params)


def names_other_pictures(words: Sequence[str]) -> bool:
  """Says whether words of a command name other pictures than the run's own."""
  fields = [word.partition("=")[0].removeprefix("--").removeprefix("config.") for word in words]
  return any(f"data.{name}" in fields for name in OTHER_PICTURES)


def fingerprint(variables: Variables) -> str:
  """Names weights by what they are."""
  digest = hashlib.sha256()
  for leaf in jax.tree.leaves(variables):
    digest.update(np.asarray(leaf).tobytes())
  return digest.hexdigest()[:16]
