"""A run opened again: its config, its weights, its pictures."""

import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxssl import flags, methods, parallel, splits
from jaxssl.checkpoint import Checkpoints
from jaxssl.config import Config, read
from jaxssl.data import sources
from jaxssl.evals.measure import Measure
from jaxssl.models import network
from jaxssl.schedules import Horizon
from jaxssl.types import UserError, Variables
from jaxssl.workdir import CONFIG

OTHER_PICTURES = ("source", "path")  # whoever names these means other pictures: nothing of the old ones is kept
OF_THE_NETWORK = ("channels", "depth", "mean", "std")  # what it sees: weights are good for these only


def read_config(workdir: pathlib.Path, words: Sequence[str]) -> Config:
  """Reads a workdir's config, with evals.FIELD and data.FIELD changed. Raises UserError where there is none."""
  path = workdir / CONFIG
  if not path.exists():
    raise UserError(f"--workdir {workdir} holds no run: there is no {CONFIG}")
  try:
    fields = json.loads(path.read_text())
  except (OSError, json.JSONDecodeError) as error:
    raise UserError(f"{path} cannot be read: {error}") from error
  full = ["--config." + word.removeprefix("--").removeprefix("config.") for word in words if word.startswith("--")]
  for word, name in zip(words, full, strict=False):
    if not name.startswith(("--config.evals.", "--config.data.")):
      raise UserError(f"{word} is not allowed here; allowed: --workdir, --step, --evals.FIELD=VALUE, --data.FIELD=VALUE")
  changed: dict[str, Any] = {}
  flags.override(changed, full)
  for name in OF_THE_NETWORK:
    if name in changed.get("data", {}):
      raise UserError(f"data.{name} is not allowed here: the network was trained with data.{name}={fields['data'].get(name)}")
  if any(name in changed.get("data", {}) for name in OTHER_PICTURES):
    kept = ("placement", "store_size", "workers", *OF_THE_NETWORK)
    fields["data"] = {name: fields["data"][name] for name in kept if name in fields["data"]}
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
  passes = methods.build(config.method, Horizon(steps_per_epoch=1, epochs=config.train.epochs)).passes
  built = network.build(config.model, config.train.precision, config.views[passes.online[0].group].size, encoder)
  return built, online, teacher, step


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
