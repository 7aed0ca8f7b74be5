"""Time and money of a run: arithmetic on what is assumed, and on what is counted."""

import dataclasses

from jaxssl.plan.estimate import Estimate
from jaxssl.plan.topology import Topology


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assumptions:
  """What nothing here can know."""

  utilization: float = 0.3  # share of a chip's peak that a step reaches
  step_seconds: float | None = None  # a time measured elsewhere, instead
  price: float | None = None  # dollars per chip and hour


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
  """What follows from an assumed speed; None where not even that is known."""

  sending_seconds: float | None  # of a step, at the links' full speed
  step_seconds: float | None
  images_per_second_and_host: float | None  # that the host must read and cut
  hours: float | None
  dollars: float | None


def spent(found: Estimate, target: Topology, assumed: Assumptions) -> Cost:
  """Gives time and cost. A step takes as long as its operations or as what it sends, whichever is longer."""
  sending = None
  if found.traffic is not None and target.link:
    sending = sum(kind.sent for kind in found.traffic.values()) / target.link
  seconds = assumed.step_seconds
  if seconds is None and target.peak is not None:
    seconds = max(found.flops / (found.chips * target.peak * assumed.utilization), sending or 0.0)
  hours = None if seconds is None else found.steps * seconds / 3600
  return Cost(
    sending_seconds=sending,
    step_seconds=seconds,
    images_per_second_and_host=None if seconds is None else found.batch_size / seconds / found.hosts,
    hours=hours,
    dollars=None if hours is None or assumed.price is None else hours * found.chips * assumed.price,
  )
