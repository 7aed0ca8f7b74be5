"""Values that change over a run: warm-up, cosine and step decay, with durations in epochs, steps or percent."""

import dataclasses
import sys
from typing import Any, Literal

import numpy as np

from jaxssl.core.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingLength:
  """The length of a run."""

  steps_per_epoch: int
  epochs: int

  @property
  def steps(self) -> int:
    """Steps of the whole run."""
    return self.steps_per_epoch * self.epochs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
  """A value for every step; call it with a step (int, numpy or traced array).

  Time counts in ticks: steps, or whole epochs with `by_epoch`. During the first `warmup` ticks the value rises linearly from
  `start` to `base`, both included (as in DINO's `cosine_scheduler`: `base` then occurs twice in a row). After the warm-up,
  `cosine`: final + (base - final) (1 + cos(pi i / n)) / 2, which approaches `final` and never reaches it;
  `step`: base * rate^(milestones passed), with a milestone of m ticks in effect from tick m on; `constant`: base.
  """

  kind: Literal["constant", "cosine", "step"]
  base: float
  final: float
  start: float
  warmup: int
  length: int  # ticks of the whole run
  steps_per_tick: int
  milestones: tuple[int, ...]
  rate: float

  def __call__(self, step: Any) -> Any:
    """Returns the value at `step`: float32 for a jax array, float64 otherwise."""
    jax = sys.modules.get("jax")  # not imported: configs are read without it
    xp = jax.numpy if jax is not None and isinstance(step, jax.Array) else np
    tick = xp.asarray(step) // self.steps_per_tick
    warm = self.start + (self.base - self.start) * (tick / max(self.warmup - 1, 1))
    if self.kind == "cosine":
      turn = xp.clip((tick - self.warmup) / max(self.length - self.warmup, 1), 0.0, 1.0)
      after = self.final + 0.5 * (self.base - self.final) * (1.0 + xp.cos(np.pi * turn))
    elif self.kind == "step":
      passed = sum((tick >= m) * 1.0 for m in self.milestones)
      after = self.base * self.rate**passed
    else:
      after = self.base
    return xp.where(tick < self.warmup, warm, after)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
  """A schedule as it is written in a config. At most one of the `warmup_*` fields may be set."""

  kind: Literal["constant", "cosine", "step"] = "constant"  # shape of the curve after the warm-up
  base: float = 1.0  # value after the warm-up
  final: float = 0.0  # cosine: value that the curve approaches at the end of the run
  start: float = 0.0  # value at the first step of the warm-up
  warmup_epochs: float | None = None  # length of the linear warm-up in epochs
  warmup_steps: int | None = None  # or in steps
  warmup_percent: float | None = None  # or in percent of the run
  by_epoch: bool = False  # change the value only at the start of an epoch
  milestones: tuple[int, ...] = ()  # step: epochs at which the value is multiplied by `rate`
  rate: float = 0.1  # step: factor at every milestone

  def resolve(self, training_length: TrainingLength, name: str = "schedule") -> Schedule:
    """Converts durations to steps of a run; `name` is the schedule's field, such as `optim.schedule`, for messages.

    Raises UserError if two warm-ups are set, or one that is negative or longer than the run.
    """
    units = {
      "warmup_epochs": (self.warmup_epochs, training_length.steps_per_epoch, f"train.epochs={training_length.epochs}"),
      "warmup_steps": (self.warmup_steps, 1, f"the run, {training_length.steps} steps"),
      "warmup_percent": (self.warmup_percent, training_length.steps / 100, "the run, 100 percent"),
    }
    given = {field: (value, value * unit, run) for field, (value, unit, run) in units.items() if value is not None}
    if len(given) > 1:
      raise UserError(f"{' and '.join(f'{name}.{field}' for field in given)}: both are set; expected one warm-up")
    steps_per_tick = training_length.steps_per_epoch if self.by_epoch else 1
    length, warmup = training_length.steps // steps_per_tick, 0
    for field, (value, steps, run) in given.items():
      if not -0.5 <= steps / steps_per_tick:
        raise UserError(f"{name}.{field}={value:g}: negative; expected 0 or more")
      if steps / steps_per_tick >= length + 0.5:
        raise UserError(f"{name}.{field}={value:g} is longer than {run}; shorten the warm-up or train longer")
      warmup = round(steps / steps_per_tick)
    return Schedule(
      kind=self.kind,
      base=self.base,
      final=self.final,
      start=self.start,
      warmup=warmup,
      length=length,
      steps_per_tick=steps_per_tick,
      milestones=tuple(m if self.by_epoch else m * training_length.steps_per_epoch for m in self.milestones),
      rate=self.rate,
    )
