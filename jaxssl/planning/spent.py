"""Time and money of a run: arithmetic on what is assumed, and on what is counted."""

import dataclasses

from jaxssl.planning.estimate import Estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assumed:
  """What nothing here can know."""

  utilization: float = 0.3  # share of a chip's peak that a step reaches
  step_seconds: float | None = None  # a time measured elsewhere, instead
  price: float | None = None  # dollars per chip and hour


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spent:
  """What follows from an assumed speed; None where not even that is known."""

  step_seconds: float | None
  pictures_per_second_and_host: float | None  # that the host must read and cut
  hours: float | None
  dollars: float | None


def spent(found: Estimate, peak: float | None, assumed: Assumed) -> Spent:
  """Gives time and cost. `peak`: bfloat16 operations a second and chip."""
  seconds = assumed.step_seconds
  if seconds is None and peak is not None:
    seconds = found.flops / (found.chips * peak * assumed.utilization)
  if seconds is None:
    return Spent(step_seconds=None, pictures_per_second_and_host=None, hours=None, dollars=None)
  hours = found.steps * seconds / 3600
  return Spent(
    step_seconds=seconds,
    pictures_per_second_and_host=found.batch_size / seconds / found.hosts,
    hours=hours,
    dollars=None if assumed.price is None else hours * found.chips * assumed.price,
  )
