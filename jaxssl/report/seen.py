"""A run to be looked at: its weights and pictures, from its workdir or from memory."""

import dataclasses
import functools
import pathlib

import jax

from jaxssl import methods, parallel
from jaxssl.evals.base import Subject
from jaxssl.evals.measure import Measure
from jaxssl.opened import open_run, read_config
from jaxssl.schedules import Horizon
from jaxssl.types import Variables
from jaxssl.weights import start


@dataclasses.dataclass(frozen=True)
class Seen:
  """The weights of a run after `step` steps, and what measures them on its pictures."""

  online: Variables
  teacher: Variables | None
  step: int
  measure: Measure
  workdir: pathlib.Path

  @functools.cached_property
  def subject(self) -> Subject:
    """The network that the config says is measured."""
    return self.measure.chosen(self.online, self.teacher)

  @functools.cached_property
  def before(self) -> Subject:
    """The network before its first step, made again from the seed, and from what was imported, as `Run.init` makes it."""
    measure, config = self.measure, self.measure.config
    passes = methods.build(config.method, Horizon(steps_per_epoch=1, epochs=config.train.epochs)).passes
    size, channels = config.views[passes.online[0].group].size, config.data.channels
    key, *_ = jax.random.split(jax.random.key(config.train.seed), 3)
    first = jax.jit(lambda: measure.built.init(key, (size, size, channels)))()
    imported = start.load(config.model, measure.built, (size, size, channels), self.workdir)
    first = first if imported is None else start.put(first, imported)
    return measure.subject(parallel.everywhere(measure.mesh, first), f"{measure.before}_network")


def see(workdir: pathlib.Path) -> Seen:
  """Opens a run's newest weights and its pictures. Raises UserError where either cannot be read."""
  return Seen(*open_run(workdir, read_config(workdir, [])), workdir)
