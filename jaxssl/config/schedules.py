"""Values that change over a run: warm-up, cosine and step decay, with durations in epochs, steps or percent."""

import dataclasses
import sys
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np

from jaxssl.core import UserError, require

Schedule = Callable[[Any], Any]  # step (int, numpy or traced array) -> value: float32 for a JAX array, float64 otherwise


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingLength:
  """The length of a run."""

  steps_per_epoch: int
  epochs: int
  offset: int = 0  # step k of the run is step k + offset of one whose epochs have all been this long

  @property
  def steps(self) -> int:
    """The last step of the run."""
    return self.steps_per_epoch * self.epochs - self.offset

  def in_epochs(self, step: int) -> float:
    """Returns how many epochs a step completes."""
    return (step + self.offset) / self.steps_per_epoch

  def place(self, step: int) -> tuple[int, int]:
    """Returns the epoch that follows `step` completed steps, and how many of them belong to it."""
    return divmod(step + self.offset, self.steps_per_epoch)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
  """A schedule as it is written in a config. At most one of the `warmup_*` fields may be set."""

  number_field: ClassVar[str] = "base"  # what a plain number in a config stands for

  kind: Literal["constant", "cosine", "step", "exponential"] = "constant"  # shape of the curve after the warm-up
  base: float = 1.0  # value after the warm-up
  final: float = 0.0  # cosine, exponential: value that the curve approaches at the end of the run
  start: float = 0.0  # value at the first step of the warm-up
  warmup_epochs: float | None = None  # length of the linear warm-up in epochs
  warmup_steps: int | None = None  # or in steps
  warmup_percent: float | None = None  # or in percent of the run
  by_epoch: bool = False  # change the value only at the start of an epoch
  milestones: tuple[int, ...] = ()  # step: epochs at which the value is multiplied by `rate`
  rate: float = 0.1  # step: factor at every milestone

  def values(self) -> dict[str, float]:
    """Returns the fields whose values the schedule has or approaches, by name."""
    named = {"base": True, "final": self.kind in ("cosine", "exponential")}
    named["start"] = any((self.warmup_epochs, self.warmup_steps, self.warmup_percent))
    return {field: getattr(self, field) for field, used in named.items() if used}

  def describe(self) -> str:
    """Returns the curve in words, such as "x 0.1 after 60, 80 epochs", behind the value after the warm-up if it is not 1."""
    shape = {"constant": "constant", "step": f"x {self.rate:g} after {', '.join(map(str, self.milestones))} epochs"}
    shape |= {kind: f"{kind} to {self.final:g}" for kind in ("cosine", "exponential")}
    base, ticks = f"{self.base:g}, " if self.base != 1 else "", "" if self.by_epoch else " by step"
    lengths = {unit: getattr(self, f"warmup_{unit}") for unit in ("epochs", "steps", "percent")}
    warmup = "".join(f", warmup {unit} {length:g} from {self.start:g}" for unit, length in lengths.items() if length)
    return f"{base}{shape[self.kind]}{ticks}{warmup}"

  def resolve(self, training_length: TrainingLength, name: str = "schedule") -> Schedule:
    """Converts durations to those of a run; `name` is the schedule's field, such as `optim.schedule`, for messages.

    Time counts in ticks: steps, or whole epochs with `by_epoch`. During the first `warmup` ticks the value rises linearly from
    `start` to `base`, both included (as in DINO's `cosine_scheduler`: `base` then occurs twice in a row). After the warm-up,
    `cosine`: final + (base - final) (1 + cos(pi i / n)) / 2, which approaches `final` and never reaches it;
    `exponential`: base (final / base)^(i / n), the same;
    `step`: base * rate^(milestones passed), with a milestone of m ticks in effect from tick m on; `constant`: base.
    Raises UserError for a negative value, and if two warm-ups are set, or one that is negative or longer than the run.
    """
    for field in ("base", "final", "start"):
      require(getattr(self, field) >= 0, f"{name}.{field}", getattr(self, field), "0 or more")
    require(self.rate > 0, f"{name}.rate", self.rate, "more than 0")
    if self.kind == "exponential":
      for field in ("base", "final"):
        require(getattr(self, field) > 0, f"{name}.{field}", getattr(self, field), "more than 0 with kind=exponential")
    steps_per_tick = training_length.steps_per_epoch if self.by_epoch else 1
    ticks_per_epoch = training_length.steps_per_epoch // steps_per_tick
    steps = training_length.steps_per_epoch * training_length.epochs
    length = steps // steps_per_tick
    longest = {"warmup_epochs": training_length.epochs, "warmup_steps": steps, "warmup_percent": 100}
    given = [field for field in longest if getattr(self, field) is not None]
    if len(given) > 1:
      raise UserError(f"{' and '.join(f'{name}.{field}' for field in given)}: both are set; expected one warm-up")
    warmup = 0
    for field in given:
      value, most = getattr(self, field), longest[field]
      expected = f"0 to {most}, the length of the run (train.epochs={training_length.epochs})"
      require(0 <= value <= most, f"{name}.{field}", value, expected)
      warmup = round(value * length / max(most, 1))

    def schedule(step: Any) -> Any:
      jax = sys.modules.get("jax")  # not imported: configs are read without it
      xp = jax.numpy if jax is not None and isinstance(step, jax.Array) else np
      tick = (xp.asarray(step) + training_length.offset) // steps_per_tick
      warm = self.start + (self.base - self.start) * (tick / max(warmup - 1, 1))
      after = self.base
      turn = xp.clip((tick - warmup) / max(length - warmup, 1), 0.0, 1.0)
      if self.kind == "cosine":
        after = self.final + 0.5 * (self.base - self.final) * (1.0 + xp.cos(np.pi * turn))
      elif self.kind == "exponential":
        after = self.base * (self.final / self.base) ** turn
      elif self.kind == "step":
        after = self.base * self.rate ** sum((tick >= m * ticks_per_epoch) * 1.0 for m in self.milestones)
      return xp.where(tick < warmup, warm, after)

    return schedule
