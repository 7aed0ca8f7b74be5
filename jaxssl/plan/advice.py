"""What would make a run fit: changes of one thing each, tried on the traced step."""

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

Fields = Mapping[str, int | str]  # of the config, by their full names


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
  """A change, and the bytes a chip that the run would take with it."""

  fields: Fields  # empty where only the machine changes
  topology: str
  total: float

  def __str__(self) -> str:
    """As words of the command line."""
    words = [f"--config.{name}={value}" for name, value in self.fields.items()]
    return " ".join(words) or f"--topology {self.topology}"


def changes(config: Config, images: DatasetSpec, found: Estimate, target: Topology) -> list[Change]:
  """Changes that make a run fit that does not, those first that change least of what is learned."""
  if found.fits is not False or found.available is None:
    return []
  kept = []
  for tries in _candidates(config, found, target):
    before = math.inf
    for fields, name, chips in tries:
      total = _total(tree.replace(config, fields), images, chips, found)
      if total <= found.available:
        kept.append(Change(fields=fields, topology=name, total=total))
      if total <= found.available or math.inf > total > 0.98 * before:  # more of the same helps no more
        break
      before = total
  return kept


def largest_batch(config: Config, found: Estimate) -> int | None:
  """The largest batch that fits, activations growing as those of the traced step do; 0: none does, None: not known."""
  if found.available is None:
    return None
  unit, queue = found.chips * found.accumulate, config.method.get("queue")
  each = (_activations(found, found.live_twice) - _activations(found, found.live) + found.memory["batch"]) / found.batch_size
  held = found.total - found.memory["activations"] + _activations(found, found.live)
  batch = int(max(found.batch_size + (found.available - held) / max(each, 1), 0)) // unit * unit
  while batch and queue and (queue < batch or queue % batch):
    batch -= unit
  return batch


def _candidates(config: Config, found: Estimate, target: Topology) -> Iterator[Iterator[tuple[Fields, str, int]]]:
  """Kinds of changes, and of each what to try in turn: (fields, machine, its chips)."""
  name, chips, room = found.topology, found.chips, found.available or 0
  if found.memory["images"]:
    yield iter([({"data.placement": "host"}, name, chips)])
  if found.accumulate == 1:
    yield (({"train.accumulate": 2**n}, name, chips) for n in range(1, (found.batch_size // chips).bit_length()))
  yield (({}, larger, more) for larger, more in topology.larger(target))
  votes = found.memory["votes"] + found.memory["padding"]
  for field, value in (("window", config.bootstrap.window), ("k", config.bootstrap.k)):
    if votes:
      over = found.total - found.memory["activations"] + _activations(found, found.live) - room
      most = int(value * (1 - over / votes))
      yield (({f"bootstrap.{field}": n}, name, chips) for n in _fewer(min(most, value - 1), 1))
  most = min(largest_batch(config, found) or 0, found.batch_size - 1)
  yield (({"train.batch_size": n}, name, chips) for n in _fewer(most, chips * found.accumulate))


def _fewer(most: int, unit: int) -> list[int]:
  """Multiples of `unit` from `most` down."""
  return [n for n in (int(most * share) // unit * unit for share in (1, 7 / 8, 3 / 4, 1 / 2, 1 / 4)) if n > 0]


def _total(config: Config, images: DatasetSpec, chips: int, found: Estimate) -> float:
  """Bytes of a chip with another config or more chips; infinite where such a run cannot be.

  Activations change as those of the traced step do; padding, as what is remembered of every image.
  """
  try:
    step = abstract_step.build(config, images, abstract_mesh(chips))
  except UserError:
    return math.inf
  held, before = estimate.memory_of(step), found.memory
  if sum(held.values()) > (found.available or 0):
    return sum(held.values())
  live, _ = estimate.lives(step, step.trace())
  remembered = (held["bank"] + held["votes"]) / max(before["bank"] + before["votes"], 1)
  return sum(held.values()) + before["padding"] * (remembered or 1) + _activations(found, live)


def _activations(found: Estimate, live: int) -> float:
  """Bytes that activations take where so many live in the traced step; with a margin where nothing was compiled."""
  return found.memory["activations"] * live / max(found.live, 1) * (1 if found.compiled else MARGIN)
