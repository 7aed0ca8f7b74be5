"""Traffic between chips in a compiled step, parsed from its HLO text."""

import collections
import dataclasses
import math
import re
from collections.abc import Iterator

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
BITS = {"pred": 8, "token": 0} | {kind: int(re.sub(r"\D", "", kind)) for kind in "s4 u4 s8 u8 s16 u16 f16 bf16".split()}
BITS |= {"s32": 32, "u32": 32, "f32": 32, "s64": 64, "u64": 64, "f64": 64, "c64": 64, "c128": 128}

_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][a-z0-9\-]*)\((.*)$")
_CALLED = re.compile(r"(?:calls|to_apply|body|true_computation|false_computation)=%?([\w.\-]+)|branch_computations=\{([^}]*)\}")
_ARRAY = re.compile(r"\b([a-z]+\d*[a-z0-9]*)\[([\d,]*)\]")


@dataclasses.dataclass(frozen=True)
class Traffic:
  """All collectives of one kind in a step."""

  count: int
  payload: int  # bytes reduced, gathered or exchanged
  sent: int  # bytes that each chip sends with ring algorithms, a lower bound


def traffic(text: str, chips: int) -> dict[str, Traffic]:
  """Sums a step's collectives by kind. A collective in a loop counts once per iteration.

  The compiler may split a collective into several instructions, which have the same channel; they count as one.
  """
  executions = _executions(text)
  seen: set[tuple[str, str]] = set()
  counts, payloads, sents = (collections.Counter[str]() for _ in range(3))
  for computation, _, result, opcode, rest in _instructions(text):
    kind = opcode.removesuffix("-start")
    if kind not in KINDS or not executions[computation]:
      continue
    channel = re.search(r"channel_id=(\d+)", rest)
    if channel:
      if (kind, channel[1]) in seen:
        continue
      seen.add((kind, channel[1]))
    group = group_size(rest, chips)
    payload = _payload(kind, result, opcode.endswith("-start"), group)
    counts[kind] += executions[computation]
    payloads[kind] += payload * executions[computation]
    sents[kind] += ring(kind, payload, group) * executions[computation]
  return {kind: Traffic(counts[kind], payloads[kind], sents[kind]) for kind in KINDS if counts[kind]}


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
  arrays = [(kind, dims) for kind, dims in _ARRAY.findall(shape) if kind in BITS or kind.startswith("f8")]
  return [math.prod(int(d) for d in dims.split(",") if d) * BITS.get(kind, 8) // 8 for kind, dims in arrays]


def ring(kind: str, payload: int, group: int) -> int:
  """Returns the bytes that each of `group` chips in a ring sends."""
  if kind == "collective-permute":
    return payload
  return (2 if kind == "all-reduce" else 1) * payload * (group - 1) // group


def _payload(kind: str, result: str, is_start: bool, group: int) -> int:
  """Returns the bytes of the whole array, over all chips, from the shape of a collective's result."""
  arrays = size(result)
  if is_start and kind != "all-reduce" and len(arrays) > 1:  # (operand, result, counters)
    arrays = arrays[1:2]
  return sum(arrays) * (group if kind == "reduce-scatter" else 1)


def _executions(text: str) -> collections.Counter[str]:
  """Counts how often each computation runs in one step. Every branch of a conditional counts as taken."""
  calls: dict[str, list[tuple[str, int]]] = collections.defaultdict(list)
  bounds: dict[str, int] = collections.Counter()  # largest constant of a loop condition, used if the trip count is missing
  entry = ""
  whiles: list[tuple[str, str, str, str]] = []
  for line in text.splitlines():
    if (head := _HEAD.match(line)) and head[1]:
      entry = head[2]
  for computation, _, result, opcode, rest in _instructions(text):
    if opcode == "constant" and re.match(r"[su](32|64)\[\]", result) and (value := re.match(r"(\d+)\)", rest)):
      bounds[computation] = max(bounds[computation], int(value[1]))
    if opcode == "while":
      condition, body = (re.search(rf"{word}=%?([\w.\-]+)", rest) for word in ("condition", "body"))
      assert condition and body, rest
      whiles.append((computation, condition[1], body[1], rest))
      continue
    for single, branches in _CALLED.findall(rest):
      calls[computation] += [(name.strip().lstrip("%"), 1) for name in (branches.split(",") if branches else [single])]
  for computation, condition, body, rest in whiles:
    trips = re.search(r'known_trip_count[^\d}]*"?(\d+)', rest)
    calls[computation].append((body, int(trips[1]) if trips else max(bounds[condition], 1)))
  executions: collections.Counter[str] = collections.Counter()

  def run(computation: str, count: int) -> None:
    executions[computation] += count
    for called, each in calls[computation]:
      run(called, count * each)

  run(entry, 1)
  return executions


def _instructions(text: str) -> Iterator[tuple[str, str, str, str, str]]:
  """Yields (computation, name, shape of the result, opcode, rest of the line) of every instruction."""
  computation = ""
  for line in text.splitlines():
    if head := _HEAD.match(line):
      computation = head[2]
    elif instruction := _INSTRUCTION.match(line):
      yield computation, *instruction.groups()  # type: ignore[misc]
