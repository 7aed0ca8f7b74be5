"""Parses the traffic between chips in a compiled step from its HLO text."""

import collections
import math
import re
from typing import NamedTuple, TypedDict

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = (.*?) ([a-z][a-z0-9\-]*)\((.*)$")
_CALLED = re.compile(r"(?:calls|to_apply|body|true_computation|false_computation)=%?([\w.\-]+)|branch_computations=\{([^}]*)\}")
_ARRAY = re.compile(r"\b(?:pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")  # such as bf16[8,4]: its bits and dimensions


class Traffic(TypedDict):
  """All collectives of one kind in a step."""

  count: int
  payload: int  # bytes reduced, gathered or exchanged
  sent: int  # bytes that each chip sends with ring algorithms, a lower bound


class Instruction(NamedTuple):
  """One line of HLO: the shape of its result, its opcode, its operands and attributes."""

  result: str
  opcode: str
  rest: str


def traffic(text: str, chips: int) -> dict[str, Traffic]:
  """Sums a step's collectives by kind. A collective in a loop counts once per iteration, and every branch as taken.

  The compiler may split a collective into several instructions, which have the same channel; they count as one.
  """
  entry, computations = _parse(text)
  owners: dict[tuple[str, str], tuple[str, int]] = {}  # (kind, channel) -> the instruction that counts
  totals: dict[str, Traffic] = {}

  def run(computation: str, times: int) -> None:
    for place, instruction in enumerate(computations[computation]):
      kind = instruction.opcode.removesuffix("-start")
      if kind in KINDS:
        channel = re.search(r"channel_id=(\d+)", instruction.rest)
        if channel and owners.setdefault((kind, channel[1]), (computation, place)) != (computation, place):
          continue
        group = group_size(instruction.rest, chips)
        arrays = size(instruction.result)
        if instruction.opcode.endswith("-start") and kind != "all-reduce" and len(arrays) > 1:  # (operand, result, counters)
          arrays = arrays[1:2]
        payload = sum(arrays) * (group if kind == "reduce-scatter" else 1)
        total = totals.setdefault(kind, Traffic(count=0, payload=0, sent=0))
        total["count"] += times
        total["payload"] += payload * times
        total["sent"] += ring(kind, payload, group) * times
      trips = _trips(instruction, computations) if instruction.opcode == "while" else 1
      for single, branches in _CALLED.findall(instruction.rest):
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


def size(shape: str) -> list[int]:
  """Returns the bytes of each array in an HLO shape, such as (f32[8,4]{1,0}, s32[])."""
  return [math.prod(int(d) for d in dims.split(",") if d) * int(bits or 8) // 8 for bits, dims in _ARRAY.findall(shape)]


def ring(kind: str, payload: int, group: int) -> int:
  """Returns the bytes that each of `group` chips in a ring sends."""
  if kind == "collective-permute":
    return payload
  return (2 if kind == "all-reduce" else 1) * payload * (group - 1) // group


def _trips(loop: Instruction, computations: dict[str, list[Instruction]]) -> int:
  """Returns the trip count of a loop; if that is missing, the largest constant of its condition."""
  if trips := re.search(r'known_trip_count[^\d}]*"?(\d+)', loop.rest):
    return int(trips[1])
  condition = re.search(r"condition=%?([\w.\-]+)", loop.rest)
  constants = [each for each in computations[condition[1]] if each.opcode == "constant"] if condition else []
  values = [re.match(r"(\d+)\)", each.rest) for each in constants if re.match(r"[su](32|64)\[\]", each.result)]
  return max([1, *(int(value[1]) for value in values if value)])


def _parse(text: str) -> tuple[str, dict[str, list[Instruction]]]:
  """Returns the name of the entry computation, and the instructions of every computation by name."""
  entry, computations = "", collections.defaultdict(list)
  instructions: list[Instruction] = []
  for line in text.splitlines():
    if head := _HEAD.match(line):
      instructions = computations[head[2]]
      entry = head[2] if head[1] else entry
    elif instruction := _INSTRUCTION.match(line):
      instructions.append(Instruction(*instruction.groups()))
  return entry, computations
