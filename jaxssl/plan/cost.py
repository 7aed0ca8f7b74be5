"""Computes time and cost of a run from counted operations and assumed speeds."""

import dataclasses

from jaxssl.plan.estimate import Estimate
from jaxssl.plan.topology import Topology


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assumptions:
  """Numbers that cannot be derived from the config or the machine."""

  utilization: float = 0.3  # fraction of a chip's peak that a step reaches
  step_seconds: float | None = None  # measured elsewhere; replaces the utilization
  price: float | None = None  # dollars per chip and hour


@dataclasses.dataclass(frozen=True)
class Cost:
  """Time and cost at the assumed speed. None: unknown."""

  sending_seconds: float | None  # per step, at the full speed of the links
  step_seconds: float | None
  images_per_second_and_host: float | None  # that each host must read and crop
  hours: float | None
  dollars: float | None


def cost_of(estimate: Estimate, target: Topology, assumed: Assumptions) -> Cost:
  """Returns the cost of a run. A step takes the longer of its computation and its communication."""
  sending = hours = dollars = rate = None
  if estimate.traffic is not None and target.link:
    sending = sum(kind["sent"] for kind in estimate.traffic.values()) / target.link
  seconds = assumed.step_seconds
  if seconds is None and target.peak:
    seconds = max(estimate.flops / (estimate.chips * target.peak * assumed.utilization), sending or 0.0)
  if seconds is not None:
    hours, rate = estimate.steps * seconds / 3600, estimate.batch_size / seconds / estimate.hosts
    dollars = assumed.price and hours * estimate.chips * assumed.price
  return Cost(sending, seconds, rate, hours, dollars)
