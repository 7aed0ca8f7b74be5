"""Finds changes that would make a run fit. Each changes one thing; its activations scale as those of the traced step."""

import dataclasses
import math
from collections.abc import Mapping

from jaxssl.config.schema import Config
from jaxssl.core import tree
from jaxssl.core.errors import UserError
from jaxssl.parallel.mesh import abstract_mesh
from jaxssl.plan import abstract_step, estimate, topology
from jaxssl.plan.abstract_step import DatasetSpec
from jaxssl.plan.estimate import MARGIN, Estimate
from jaxssl.plan.topology import Topology


@dataclasses.dataclass(frozen=True)
class Change:
  """A change of the config or the machine, and the bytes per chip of the changed run."""

  fields: Mapping[str, int | str]  # dotted config path -> value; empty if only the machine changes
  topology: str
  total: float

  def __str__(self) -> str:
    """Formats the change as command-line options."""
    options = [f"--config.{name}={value}" for name, value in self.fields.items()]
    return " ".join(options) or f"--topology {self.topology}"


def changes(config: Config, images: DatasetSpec, current: Estimate, target: Topology) -> list[Change]:
  """Returns changes that make a run fit, those that affect training least first; none if it fits or that is unknown."""
  if current.fits is not False or current.available is None:
    return []
  train = config.train
  window, k = (config.bootstrap.window, config.bootstrap.k) if current.memory["votes"] else (0, 0)
  candidates = {  # values from little to great effect
    "data.placement": ["host"] if current.memory["images"] else [],
    "train.accumulate": [train.accumulate << n for n in range(1, train.batch_size.bit_length())],
    "topology": topology.larger(target),
    "bootstrap.window": _halves(window),
    "bootstrap.k": _halves(k),
    "train.batch_size": _halves(train.batch_size),
  }
  result = []
  for field, values in candidates.items():
    for value in values:
      fields, (name, chips) = ({}, value) if field == "topology" else ({field: value}, (current.topology, current.chips))
      total = _total(tree.replace(config, fields), images, chips, current)
      if total <= current.available:
        result.append(Change(fields, name, total))
        break
  return result


def largest_batch(config: Config, current: Estimate) -> int | None:
  """Extrapolates the largest batch that fits from the activations at the batch size and at twice that.

  Returns 0 if no batch fits and None if the memory of the machine is unknown.
  """
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


def _halves(value: int) -> list[int]:
  return [value >> n for n in range(1, value.bit_length())]


def _total(config: Config, images: DatasetSpec, chips: int, current: Estimate) -> float:
  """Estimates the bytes per chip with another config or number of chips; infinite if the config is invalid.

  Activations scale with those of the traced step, padding with the neighbor bank.
  """
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
