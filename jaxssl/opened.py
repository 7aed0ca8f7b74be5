"""A run that is looked at: its config, its weights and its pictures, from its workdir or from memory."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jaxssl import flags, methods, parallel, splits
from jaxssl.checkpoint import Checkpoints
from jaxssl.config import Config, read
from jaxssl.data import sources
from jaxssl.evals.base import Subject
from jaxssl.evals.measure import Measure
from jaxssl.models import network
from jaxssl.schedules import Horizon
from jaxssl.types import UserError, Variables

OTHER_PICTURES = ("source", "path")  # whoever names these means other pictures: nothing of the old ones is kept


@dataclasses.dataclass(frozen=True)
class Opened:
  """The weights of a run after `step` steps, and what measures them on its pictures."""

  online: Variables
  teacher: Variables | None
  step: int
  measure: Measure

  @functools.cached_property
  def subject(self) -> Subject:
    """The network that the config says is measured."""
    return self.measure.chosen(self.online, self.teacher)

  @functools.cached_property
  def untrained(self) -> Subject:
    """The network before its first step, made again from the seed; see `Trainer.init`."""
    config, measure = self.measure.config, self.measure
    size, channels = image_size(config), config.data.channels
    key, *_ = jax.random.split(jax.random.key(config.train.seed), 3)
    first = jax.jit(lambda: measure.built.init(key, (size, size, channels)))()
    return measure.subject(parallel.everywhere(measure.mesh, first), "untrained_network")


def open_run(workdir: pathlib.Path, config: Config, step: int | None = None) -> Opened:
  """Opens a run's weights and its pictures. Raises UserError where either cannot be read."""
  mesh = parallel.make_mesh()
  online, teacher, step = Checkpoints(workdir / "checkpoints", config.train.keep).weights(step)
  built = network.build(config.model, config.train.precision, image_size(config))
  pictures = splits.load(config, mesh, sources.open_sources(config.data, config.train.seed))
  measure = Measure(config, mesh, pictures, built, teacher is not None)
  return Opened(parallel.everywhere(mesh, online), parallel.everywhere(mesh, teacher), step, measure)


def image_size(config: Config) -> int:
  """Side of the pictures that the online network is made for, in pixels."""
  passes = methods.build(config.method, Horizon(steps_per_epoch=1, epochs=config.train.epochs)).passes
  return config.views[passes.online[0].group].size


def read_config(workdir: pathlib.Path, words: Sequence[str] = ()) -> Config:
  """Reads a workdir's config, with evals.FIELD and data.FIELD changed. Raises UserError where there is none."""
  path = workdir / "config.json"
  if not path.exists():
    raise UserError(f"--workdir {workdir} holds no run: there is no config.json")
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
  if any(name in changed.get("data", {}) for name in OTHER_PICTURES):
    kept = ("placement", "store_size", "channels", "mean", "std", "workers")
    fields["data"] = {name: fields["data"][name] for name in kept if name in fields["data"]}
    changed["data"].setdefault("source", "folder")
  return read(Config, merged(fields, changed))


def merged(fields: Mapping, changed: Mapping) -> dict:
  """Gives nested fields with others in their place."""
  return {**fields, **{k: merged(fields.get(k, {}), v) if isinstance(v, Mapping) else v for k, v in changed.items()}}
