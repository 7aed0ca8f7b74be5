"""Compares the config of a run with the one that it is resumed with: what may change, what is refused, what is recorded."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax

from jaxssl.config.roles import Role, role_of
from jaxssl.config.schema import Config
from jaxssl.core import LOG, UserError, json_io, tree
from jaxssl.methods import METHODS, read_method
from jaxssl.train import lower_to_fit
from jaxssl.train.build_step import abstract_state, build_train_step, schedules_of, training_length
from jaxssl.train.setup import Experiment
from jaxssl.workdir.workdir import Workdir, as_json

SHOWN = 8  # fields that a message lists


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
  """A field that differs from the run's; None: there is no such field."""

  field: str
  before: Any
  after: Any
  role: Role

  def __str__(self) -> str:
    return f"{self.field}: {self.before!r} there, {self.after!r} here"


class ConfigChanges(Sequence[Change]):
  """The fields in which a config differs from that of the run in a workdir, if there is one.

  `config`: the one given, with what the run has settled. Raises UserError for fields that cannot change, and for those that
  change what is learned unless `accept`.
  """

  def __init__(self, original: Workdir, config: Config, accept: bool):
    self._original, self._before = original, original.stored()
    self.config = config if self._before is None else self._settled(config, self._before)
    self._changes = differences(self._before, self.config) if self._before else []
    if fixed := [change for change in self if change.role == "fixed"]:
      raise self.refused(fixed, "Such fields cannot change in a run: use another --workdir, or the same values")
    if (learned := self._learned) and not accept:
      raise self.refused(learned, "Use another --workdir, the same values, or --accept-changes to resume with the new ones")

  def _settled(self, config: Config, before: Config) -> Config:
    return lower_to_fit.as_lowered(self._original.settled(config, before), before, self._original.lowered_from())

  def __len__(self) -> int:
    return len(self._changes)

  def __getitem__(self, index: Any) -> Any:
    return self._changes[index]

  @property
  def _learned(self) -> list[Change]:
    return [change for change in self if change.role == "result"]

  def refused(self, changes: Sequence[Change], remedy: str) -> UserError:
    """Returns the error that lists changes, all or the first few of them, the method first."""
    texts = [str(change) for change in sorted(changes, key=lambda change: change.field != "method.name")]
    more = [f"and {len(texts) - SHOWN} more fields"] if len(texts) > SHOWN else []
    return UserError(
      f"--workdir {self._original.folder} belongs to another config: {'; '.join([*texts[:SHOWN], *more])}. {remedy}"
    )

  def check_state(self, run: Experiment, encoder: Any) -> None:
    """Raises UserError if accepted changes give the train state other arrays than its checkpoints have."""
    if self._before is None:
      return
    if smaller := [name for name in ("train.batch_size", "bootstrap.k") if name in run.lowered_from]:
      field, value = smaller[0], run.lowered_from[smaller[0]]
      problem = f"the training set has {len(run.train)} images now, and it cannot change"
      raise UserError(f"{field}={value}: {problem}; use another --workdir")
    if not self._learned:
      return
    before = abstract_state(build_train_step(self._before, run.mesh, len(run.train), encoder))
    if jax.tree.map(lambda x: x.shape, before) != jax.tree.map(lambda x: x.shape, run.state_shapes):
      raise self.refused(self._learned, "One of them changes arrays of the run: use another --workdir, or the same values")

  def record(self, local: Workdir, run: Experiment, step: int) -> None:
    """Writes the config with the history of its changes, and logs those that take effect after `step` steps.

    Raises UserError if the run is longer already than the config says.
    """
    if self._before is None:
      local.write_config(run.config, lowered_from=run.lowered_from)
      return
    done, rest = run.training_length.place(step)
    if step > run.training_length.steps:
      least = done + bool(rest)
      raise UserError(f"train.epochs={run.config.train.epochs}: {least} epochs are done or begun; expected at least {least}")
    for change in self:
      LOG.info("from step %d on: %s=%s, before %s", step, change.field, change.after, change.before)
    if self and (effects := _effects(self._before, run, step)):
      LOG.info("at step %d: %s", step, "; ".join(effects))
    if not step and self._learned:  # baselines with other inputs
      local.results.unlink(missing_ok=True)
      json_io.truncate_lines(local.metrics, -1)
    new = [{"step": step, "field": change.field, "from": change.before, "to": change.after} for change in self]
    changed = {change.field for change in self}
    lowered_from = {name: value for name, value in local.lowered_from().items() if name not in changed}
    for name, value in lowered_from.items():
      LOG.info("%s=%s instead of %s, as the run lowered it (train.lower_to_fit)", name, _flat(run.config).get(name), value)
    local.write_config(run.config, [*local.history(), *new], run.lowered_from | lowered_from)


def differences(before: Config, after: Config) -> list[Change]:
  """Returns the fields that differ, by name, with values as in JSON."""
  there, here = _flat(before), _flat(after)
  differing = [name for name in sorted({*there, *here}) if there.get(name) != here.get(name)]
  kind = METHODS.find(after.method["name"])
  return [Change(field=name, before=there.get(name), after=here.get(name), role=_role(name, kind)) for name in differing]


def _flat(config: Config) -> dict[str, Any]:
  """Returns the leaves of a config, with the method's defaults."""
  method: Any = read_method(config.method)
  full = dataclasses.replace(config, method={"name": config.method["name"], **dataclasses.asdict(method)})
  return tree.flatten(as_json(full))


def _role(field: str, method: type) -> Role:
  group, _, name = field.partition(".")
  if field == "method.name":
    return "fixed"
  return role_of(method, name) if group == "method" else role_of(Config, field)


def _effects(before: Config, run: Experiment, step: int) -> list[str]:
  """Returns what happens at a step to the values that change over a run: `learning_rate 0.001 instead of 0.1`."""
  length = dataclasses.replace(training_length(before, len(run.train)), offset=run.training_length.offset)
  was, now = (
    {name: f"{float(schedule(step)):.4g}" for name, schedule in schedules.items()}
    for schedules in (schedules_of(before, length), run.schedules)
  )
  return [f"{name} {now[name]} instead of {was[name]}" for name in now if now[name] != was.get(name, now[name])]
