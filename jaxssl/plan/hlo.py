"""Parses the traffic between chips in a compiled step from its HLO text."""

import collections
import math
import re
from typing import TypedDict

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
# The shape of the result, the opcode, and the operands with the attributes
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = (.*?) ([a-z][a-z0-9\-]*)\((.*)$")
_CALLED = re.compile(r"(?:calls|to_apply|body|true_computation|false_computation)=%?([\w.\-]+)|branch_computations=\{([^}]*)\}")
_ARRAY = re.compile(r"\b(?:pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")  # such as bf16[8,4]: its bits and dimensions


class Traffic(TypedDict):
  """All collectives of one kind in a step."""

  count: int
  payload: int  # bytes reduced, gathered or exchanged
  sent: int  # bytes that each chip sends with ring algorithms, a lower bound


def traffic(text: str, chips: int) -> dict[str, Traffic]:
  """Sums a step's collectives by kind. A collective in a loop counts once per iteration, and every branch as taken.

  The compiler may split a collective into several instructions, which have the same channel; they count as one.
  """
  entry, computations = _parse(text)
  owners: dict[tuple[str, str], tuple[str, int]] = {}  # (kind, channel) -> the instruction that counts
  totals: dict[str, Traffic] = {}

  def run(computation: str, times: int) -> None:
    for place, (result, opcode, rest) in enumerate(computations[computation]):
      kind = opcode.removesuffix("-start")
      if kind in KINDS:
        channel = re.search(r"channel_id=(\d+)", rest)
        if channel and owners.setdefault((kind, channel[1]), (computation, place)) != (computation, place):
          continue
        group = group_size(rest, chips)
        shapes = [([int(size) for size in sizes.split(",") if size], int(bits or 8)) for bits, sizes in _ARRAY.findall(result)]
        arrays = [math.prod(shape) * bits // 8 for shape, bits in shapes]
        if opcode.endswith("-start") and kind != "all-reduce" and len(arrays) > 1:  # (operand, result, counters)
          arrays = arrays[1:2]
        payload = sum(arrays) * (group if kind == "reduce-scatter" else 1)
        total = totals.setdefault(kind, Traffic(count=0, payload=0, sent=0))
        total["count"] += times
        total["payload"] += payload * times
        total["sent"] += ring(kind, payload, group) * times
      trips = _trips(rest, computations) if opcode == "while" else 1
      for single, branches in _CALLED.findall(rest):
        for name in branches.split(",") if branches else [single]:
          run(name.strip().lstrip("%"), times * trips)

  run(entry, 1)
  return {kind: totals[kind] for kind in KINDS if kind in totals}


def group_size(text: str, chips: int) -> int:
  """Returns the number of chips in a collective's group, from any of the three HLO notations of replica_groups."""
  if mesh := re.search(r"replica_groups=mesh\[([^\]]*)\]\s*\{([^}]*)\}", text):
    sizes = dict(re.findall(r"'([^']+)'=(\d+)", mesh[1]))
    return math.prod(int(sizes[name]) for name in re.findall(r"'([^']+)'", mesh[2]))
  if iota := re.search(r"replica_groups=\[\d+,(\d+)\]<=", text):
    return int(iota[1])
  if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", text):
    return len(listed[1].split(","))
  return chips


def ring(kind: str, payload: int, group: int) -> int:
  """Returns the bytes that each of `group` chips in a ring sends."""
  if kind == "collective-permute":
    return payload
  return (2 if kind == "all-reduce" else 1) * payload * (group - 1) // group


def _trips(loop: str, computations: dict[str, list[tuple[str, ...]]]) -> int:
  """Returns the trip count of a loop; if that is missing, the largest constant of its condition."""
  if trips := re.search(r'known_trip_count[^\d}]*"?(\d+)', loop):
    return int(trips[1])
  conditions = re.findall(r"condition=%?([\w.\-]+)", loop)
  constants = [line for name in conditions for line in computations[name] if line[1] == "constant"]
  return max([1, *(int(rest.partition(")")[0]) for shape, _, rest in constants if re.match(r"[su](32|64)\[\]", shape))])


def _parse(text: str) -> tuple[str, dict[str, list[tuple[str, ...]]]]:
  """Returns the name of the entry computation, and the instructions of every computation by name."""
  entry, computations = "", collections.defaultdict(list)
  instructions: list[tuple[str, ...]] = []
  for line in text.splitlines():
    if head := _HEAD.match(line):
      instructions = computations[head[2]]
      entry = head[2] if head[1] else entry
    elif instruction := _INSTRUCTION.match(line):
      instructions.append(instruction.groups())
  return entry, computations
