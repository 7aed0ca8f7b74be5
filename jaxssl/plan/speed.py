"""Estimates the time of a step from what may bound it: operations, traffic, the latency of collectives, and the images."""

import dataclasses

from jaxssl.plan.estimate import Estimate
from jaxssl.plan.topology import Topology

# Assumed: with n images per chip at a time, a step reaches n / (n + HALF) of the utilization that it reaches with many.
HALF = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
  """Time and cost at the assumed speed. None: unknown."""

  utilization: float  # share of a chip's peak that a step reaches with this number of images per chip
  computing_seconds: float | None  # per step, as the other seconds
  sending_seconds: float | None  # at the full speed of the links
  latency_seconds: float | None  # of all collectives
  reading_seconds: float | None  # until the hosts have the images of a step
  step_seconds: float | None
  bound: str | None  # what takes the longest: compute, communication, latency or input
  images_per_second_and_host: float | None  # that each host reads and crops
  host_images_per_second: float | None  # that it could read
  hours: float | None
  dollars: float | None


def cost_of(
  estimate: Estimate, target: Topology, utilization: float, price: float | None = None, host_rate: float | None = None
) -> Cost:
  """Returns the cost of a run: computation and traffic overlap, each collective delays both, and reading overlaps with all.

  `utilization`: the fraction of a chip's peak that a step reaches with many images per chip; `price`: dollars per chip and
  hour; `host_rate`: images per second that a host can read, None: as many as the step takes.
  """
  traffic, at_once = estimate.traffic, estimate.batch_size / (estimate.chips * estimate.accumulate)
  reached = utilization * at_once / (at_once + HALF)
  sent = sum(kind["sent"] for kind in (traffic or {}).values())
  times = {
    "compute": estimate.flops / (estimate.chips * target.peak * reached) if target.peak else None,
    "communication": None if traffic is None or not target.link else sent / target.link,
    "latency": latency(estimate, target),
    "input": estimate.batch_size / estimate.hosts / host_rate if host_rate else None,
  }
  compute, sending, delay, reading = times.values()
  step = hours = rate = bound = None
  if compute is not None:
    on_chips = max(compute, sending or 0.0) + (delay or 0.0)
    step = max(on_chips, reading or 0.0)
    known = {name: seconds for name, seconds in times.items() if seconds and name != "input"}
    bound = "input" if step > on_chips else max(known, key=known.__getitem__)
    hours, rate = estimate.steps * step / 3600, estimate.batch_size / step / estimate.hosts
  return Cost(
    utilization=reached,
    computing_seconds=compute,
    sending_seconds=sending,
    latency_seconds=delay,
    reading_seconds=reading,
    step_seconds=step,
    bound=bound,
    images_per_second_and_host=rate,
    host_images_per_second=host_rate,
    hours=hours,
    dollars=price and hours and hours * estimate.chips * price,
  )


def latency(estimate: Estimate, target: Topology) -> float | None:
  """Returns the seconds of all collectives of a step if they sent nothing; None: unknown.

  An all-reduce takes twice the latency of the others: it first reduces the parts of each chip, then gathers them.
  """
  if target.latency is None or estimate.traffic is None:
    return None
  return target.latency * sum(kind["count"] * (2 if name == "all-reduce" else 1) for name, kind in estimate.traffic.items())
