"""Finds changes that would make a run fit. Each changes one thing and is estimated from the traced step."""

import dataclasses
import math
from collections.abc import Iterator, Mapping

from jaxssl.config.schema import Config
from jaxssl.core import tree
from jaxssl.core.errors import UserError
from jaxssl.parallel.mesh import abstract_mesh
from jaxssl.plan import abstract_step, estimate, topology
from jaxssl.plan.abstract_step import DatasetSpec
from jaxssl.plan.estimate import MARGIN, Estimate
from jaxssl.plan.topology import Topology

Fields = Mapping[str, int | str]  # dotted config path -> value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
  """A change of the config or the machine, and the bytes per chip of the changed run."""

  fields: Fields  # empty if only the machine changes
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
  result = []
  for candidates in _candidates(config, current, target):
    previous = math.inf
    for fields, name, chips in candidates:
      total = _total(tree.replace(config, fields), images, chips, current)
      if total <= current.available:
        result.append(Change(fields=fields, topology=name, total=total))
      if total <= current.available or math.inf > total > 0.98 * previous:  # a larger change of this kind would not help
        break
      previous = total
  return result


def largest_batch(config: Config, current: Estimate) -> int | None:
  """Extrapolates the largest batch that fits from the activations at the batch size and at twice that.

  Returns 0 if no batch fits and None if the memory of the machine is unknown.
  """
  if current.available is None:
    return None
  unit, queue = current.chips * current.accumulate, config.method.get("queue")
  growth = _activations(current, current.live_twice) - _activations(current, current.live)
  per_image = (growth + current.memory["batch"]) / current.batch_size
  spare = current.available - _total_with_margin(current)
  batch = int(max(current.batch_size + spare / max(per_image, 1), 0)) // unit * unit
  while batch and queue and (queue < batch or queue % batch):
    batch -= unit
  return batch


def _candidates(config: Config, current: Estimate, target: Topology) -> Iterator[Iterator[tuple[Fields, str, int]]]:
  """Yields one iterator for each kind of change, over (fields, topology, chips) from small to large."""
  name, chips = current.topology, current.chips
  if current.memory["images"]:
    yield iter([({"data.placement": "host"}, name, chips)])
  if current.accumulate == 1:
    yield (({"train.accumulate": 2**n}, name, chips) for n in range(1, (current.batch_size // chips).bit_length()))
  yield (({}, *machine) for machine in topology.larger(target))
  votes = current.memory["votes"] + current.memory["padding"]
  for field, value in (("window", config.bootstrap.window), ("k", config.bootstrap.k)):
    if votes:
      excess = _total_with_margin(current) - (current.available or 0)
      limit = min(int(value * (1 - excess / votes)), value - 1)
      yield (({f"bootstrap.{field}": n}, name, chips) for n in _smaller(limit, 1))
  limit = min(largest_batch(config, current) or 0, current.batch_size - 1)
  yield (({"train.batch_size": n}, name, chips) for n in _smaller(limit, chips * current.accumulate))


def _smaller(limit: int, unit: int) -> list[int]:
  """Returns positive multiples of `unit` from `limit` down."""
  return [n for n in (int(limit * share) // unit * unit for share in (1, 7 / 8, 3 / 4, 1 / 2, 1 / 4)) if n > 0]


def _total(config: Config, images: DatasetSpec, chips: int, current: Estimate) -> float:
  """Estimates the bytes per chip with another config or number of chips; infinite if the config is invalid.

  Activations scale with those of the traced step, padding with the neighbor bank.
  """
  try:
    step = abstract_step.build(config, images, abstract_mesh(chips))
  except UserError:
    return math.inf
  memory, before = estimate.memory_of(step), current.memory
  if sum(memory.values()) > (current.available or 0):
    return sum(memory.values())
  live, _ = estimate.live_bytes(step, step.trace())
  growth = (memory["bank"] + memory["votes"]) / max(before["bank"] + before["votes"], 1)
  return sum(memory.values()) + before["padding"] * (growth or 1) + _activations(current, live)


def _activations(current: Estimate, live: int) -> float:
  """Scales the bytes of activations to `live` bytes in the traced step, with a margin if nothing was compiled."""
  return current.memory["activations"] * live / max(current.live, 1) * (1 if current.compiled else MARGIN)


def _total_with_margin(current: Estimate) -> float:
  return current.total - current.memory["activations"] + _activations(current, current.live)
