"""What follows from an estimate: time and cost, the largest batch, and single changes that would make the run fit."""

import dataclasses
import math
from collections.abc import Iterable

from jaxssl.config.schema import Config
from jaxssl.core import tree
from jaxssl.core.errors import UserError
from jaxssl.parallel.mesh import abstract_mesh
from jaxssl.plan import abstract_step, estimate, topology
from jaxssl.plan.dataset_sizes import DatasetSpec
from jaxssl.plan.estimate import MARGIN, Estimate
from jaxssl.plan.topology import Topology


@dataclasses.dataclass(frozen=True)
class Cost:
  """Time and cost at the assumed speed. None: unknown."""

  sending_seconds: float | None  # per step, at the full speed of the links
  step_seconds: float | None
  images_per_second_and_host: float | None  # that each host must read and crop
  hours: float | None
  dollars: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """A run on one machine at one batch size."""

  estimate: Estimate
  cost: Cost
  largest_batch: int | None  # 0: no batch fits; None: the memory of the machine is unknown
  changes: dict[str, float]  # options that make the run fit -> bytes per chip; empty if it fits or that is unknown


def cost_of(estimate: Estimate, target: Topology, utilization: float, step_seconds: float | None, price: float | None) -> Cost:
  """Returns the cost of a run. A step takes `step_seconds`, or the longer of its computation and its communication.

  `utilization`: the fraction of a chip's peak that a step reaches; `price`: dollars per chip and hour.
  """
  sending = hours = dollars = rate = None
  if estimate.traffic is not None and target.link:
    sending = sum(kind["sent"] for kind in estimate.traffic.values()) / target.link
  if step_seconds is None and target.peak:
    step_seconds = max(estimate.flops / (estimate.chips * target.peak * utilization), sending or 0.0)
  if step_seconds is not None:
    hours, rate = estimate.steps * step_seconds / 3600, estimate.batch_size / step_seconds / estimate.hosts
    dollars = price and hours * estimate.chips * price
  return Cost(sending, step_seconds, rate, hours, dollars)


def changes(config: Config, images: DatasetSpec, current: Estimate, target: Topology) -> dict[str, float]:
  """Returns options that make a run fit, those that affect training least first -> bytes per chip; see `Plan.changes`."""
  if current.fits is not False or current.available is None:
    return {}

  def options(field: str, values: Iterable[int | str]) -> list[tuple[str, Config, int]]:
    return [(f"--config.{field}={value}", tree.replace(config, {field: value}), current.chips) for value in values]

  def halves(value: int) -> list[int]:
    return [value >> n for n in range(1, value.bit_length())]

  train, boot, votes = config.train, config.bootstrap, current.memory["votes"]
  candidates = (  # each with values from little to great effect
    options("data.placement", ["host"] if current.memory["images"] else []),
    options("train.accumulate", [train.accumulate << n for n in range(1, train.batch_size.bit_length())]),
    [(f"--topology {name}", config, chips) for name, chips in topology.larger(target)],
    options("bootstrap.window", halves(boot.window) if votes else []),
    options("bootstrap.k", halves(boot.k) if votes else []),
    options("train.batch_size", halves(train.batch_size)),
  )
  result = {}
  for values in candidates:
    for option, changed, chips in values:
      total = _total(changed, images, chips, current)
      if total <= current.available:
        result[option] = total
        break
  return result


def largest_batch(config: Config, current: Estimate) -> int | None:
  """Extrapolates the largest batch that fits from the activations at the batch size and at twice that; see `Plan`."""
  if current.available is None:
    return None
  unit, queue = current.chips * current.accumulate, config.method.get("queue")
  activations = _activations(current, current.live)
  per_image = (_activations(current, current.live_twice) - activations + current.memory["batch"]) / current.batch_size
  spare = current.available - (current.total - current.memory["activations"] + activations)
  batch = int(max(current.batch_size + spare / max(per_image, 1), 0)) // unit * unit
  while batch and queue and (queue < batch or queue % batch):
    batch -= unit
  return batch


def _total(config: Config, images: DatasetSpec, chips: int, current: Estimate) -> float:
  """Estimates the bytes per chip after a change, infinite if it is invalid; padding scales with the neighbor bank."""
  try:
    step = abstract_step.build(config, images, abstract_mesh(chips))
  except UserError:
    return math.inf
  memory, before = estimate.memory_of(step), current.memory
  at_once = config.train.batch_size / (chips * config.train.accumulate)
  share = at_once * current.chips * current.accumulate / current.batch_size
  least = sum(memory.values()) + _activations(current, current.live * min(share, 1))
  if least > (current.available or 0):  # not worth tracing
    return least
  live, _ = estimate.live_bytes(step, step.trace())
  growth = (memory["bank"] + memory["votes"]) / max(before["bank"] + before["votes"], 1) or 1
  return sum(memory.values()) + before["padding"] * growth + _activations(current, live)


def _activations(current: Estimate, live: float) -> float:
  """Scales the bytes of activations to `live` bytes in the traced step, with a margin if nothing was compiled."""
  return current.memory["activations"] * live / max(current.live, 1) * (1 if current.compiled else MARGIN)
