"""Values that change over a run: warm-up, cosine, step decay; durations in epochs, steps or percent."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxssl.core.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingLength:
  """How long the run is."""

  steps_per_epoch: int
  epochs: int

  @property
  def steps(self) -> int:
    """Steps of the whole run."""
    return self.steps_per_epoch * self.epochs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
  """A value for every step; call it with a step (int, numpy or traced array).

  Time is counted in ticks: steps, or whole epochs where `by_epoch`. Over `warmup` ticks the value goes linearly from `start`
  to `base`, both included (DINO's `cosine_scheduler`: `base` then occurs twice in a row); after that
  `cosine`: final + (base - final) (1 + cos(pi i / n)) / 2, so that `final` is approached and never reached;
  `step`: base x rate^(milestones passed), a milestone of m ticks acting from tick m on; `constant`: base.
  """

  kind: Literal["constant", "cosine", "step"]
  base: float
  final: float
  start: float
  warmup: int
  length: int  # ticks in the whole run
  steps_per_tick: int
  milestones: tuple[int, ...]
  rate: float

  def __call__(self, step: Any) -> Any:
    """Gives the value at `step`: float32 for a jax array, float64 otherwise."""
    xp = jnp if isinstance(step, jax.Array) else np
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
  """A schedule as a config writes it. At most one of the `warmup_*` fields may be given."""

  kind: Literal["constant", "cosine", "step"] = "constant"
  base: float = 1.0
  final: float = 0.0
  start: float = 0.0
  warmup_epochs: float | None = None
  warmup_steps: int | None = None
  warmup_percent: float | None = None
  by_epoch: bool = False  # changes at the start of epochs only
  milestones: tuple[int, ...] = ()  # epochs
  rate: float = 0.1

  def resolve(self, training_length: TrainingLength) -> Schedule:
    """Fits the schedule to a run. Raises UserError when the warm-up is given twice or is longer than the run."""
    units = {
      "warmup_epochs": (self.warmup_epochs, training_length.steps_per_epoch),
      "warmup_steps": (self.warmup_steps, 1),
      "warmup_percent": (self.warmup_percent, training_length.steps / 100),
    }
    given = {name: value * unit for name, (value, unit) in units.items() if value is not None}
    if len(given) > 1:
      raise UserError(f"{' and '.join(given)} are both given: a schedule has one warm-up, keep one of them")
    steps_per_tick = training_length.steps_per_epoch if self.by_epoch else 1
    asked = sum(given.values()) / steps_per_tick
    length = training_length.steps // steps_per_tick
    if not -0.5 <= asked < length + 0.5:
      raise UserError(f"{next(iter(given))} covers {asked:g} of {length} ticks: a warm-up ends within the run, shorten it")
    warmup = round(asked)
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
