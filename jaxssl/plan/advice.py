"""Plans: estimates with their time and cost, and single changes that would make a run fit."""

import dataclasses
import math
from collections.abc import Iterable

from jaxssl.config.schema import Config
from jaxssl.core import UserError, tree
from jaxssl.parallel.mesh import abstract_mesh
from jaxssl.plan import estimate, topology
from jaxssl.plan.dataset_sizes import DatasetSpec
from jaxssl.plan.estimate import MARGIN, Estimate
from jaxssl.plan.speed import Cost
from jaxssl.plan.topology import Topology


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """A run on one machine at one batch size."""

  estimate: Estimate
  cost: Cost
  changes: dict[str, float]  # options that make the run fit -> bytes per chip; empty if it fits or that is unknown


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
    options("model.remat", [] if config.model.remat else [True]),
    options("train.accumulate", [train.accumulate << n for n in range(1, train.batch_size.bit_length())]),
    [(f"--topology {name}", config, chips) for name, chips in topology.larger(target)],
    options("bootstrap.window", halves(boot.window) if votes else []),
    options("bootstrap.k", halves(boot.k) if votes else []),
    options("train.batch_size", halves(train.batch_size)),
  )
  result = {}
  for values in candidates:
    for option, changed, chips in values:
      total = _total(changed, images, chips, current, recomputes=changed.model.remat and not config.model.remat)
      if total <= current.available:
        result[option] = total
        break
  return result


def _total(config: Config, images: DatasetSpec, chips: int, current: Estimate, *, recomputes: bool) -> float:
  """Estimates the bytes per chip after a change, infinite if it is invalid; padding scales with the neighbor bank.

  `recomputes`: the change is `model.remat`, after which fewer activations are stored per image.
  """
  try:
    step = estimate.build(config, images, abstract_mesh(chips))
  except UserError:
    return math.inf
  memory, before = estimate.memory_of(step), current.memory
  # Activations scale as the live bytes of the traced step, with a margin if nothing was compiled.
  activations = before["activations"] / max(current.live, 1) * (1 if current.compiled else MARGIN)
  at_once = config.train.batch_size / (chips * config.train.accumulate)
  share = 0 if recomputes else min(at_once * current.chips * current.accumulate / current.batch_size, 1)
  least = sum(memory.values()) + activations * current.live * share
  if least > (current.available or 0):  # not worth tracing
    return least
  growth = (memory["bank"] + memory["votes"]) / max(before["bank"] + before["votes"], 1) or 1
  return sum(memory.values()) + before["padding"] * growth + activations * estimate.live_bytes(step, step.trace())
