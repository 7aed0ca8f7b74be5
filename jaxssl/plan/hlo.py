"""What crosses the interconnect in a compiled step, read from its HLO text."""

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
  """One kind of collective in one step, in bytes."""

  count: int
  payload: int  # what is reduced, gathered or exchanged: the whole of it
  sent: int  # by one chip, on rings: the least that does it


def traffic(text: str, chips: int) -> dict[str, Traffic]:
  """Sums a step's collectives by kind, each as often as its loop runs it.

  A collective that the compiler splits into start, parts hidden behind other work, and end is one, by its channel.
  """
  times = _times(text)
  seen: set[tuple[str, str]] = set()
  counts, payloads, sents = (collections.Counter[str]() for _ in range(3))
  for computation, _, result, opcode, rest in _instructions(text):
    kind = opcode.removesuffix("-start")
    if kind not in KINDS or not times[computation]:
      continue
    channel = re.search(r"channel_id=(\d+)", rest)
    if channel:
      if (kind, channel[1]) in seen:
        continue
      seen.add((kind, channel[1]))
    group = group_size(rest, chips)
    payload = _payload(kind, result, opcode.endswith("-start"), group)
    counts[kind] += times[computation]
    payloads[kind] += payload * times[computation]
    sents[kind] += ring(kind, payload, group) * times[computation]
  return {kind: Traffic(counts[kind], payloads[kind], sents[kind]) for kind in KINDS if counts[kind]}


def group_size(text: str, chips: int) -> int:
  """How many chips take part in one collective, from its replica_groups in any of HLO's three notations."""
  if mesh := re.search(r"replica_groups=mesh\[([^\]]*)\]\s*\{([^}]*)\}", text):
    sizes = dict(re.findall(r"'([^']+)'=(\d+)", mesh[1]))
    return math.prod(int(sizes[name]) for name in re.findall(r"'([^']+)'", mesh[2]))
  if iota := re.search(r"replica_groups=\[\d+,(\d+)\]<=", text):
    return int(iota[1])
  if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", text):
    return len(listed[1].split(","))
  return chips


def size(shape: str) -> list[int]:
  """Bytes of each array in the text of an HLO shape, such as (f32[8,4]{1,0}, s32[])."""
  found = [(kind, dims) for kind, dims in _ARRAY.findall(shape) if kind in BITS or kind.startswith("f8")]
  return [math.prod(int(d) for d in dims.split(",") if d) * BITS.get(kind, 8) // 8 for kind, dims in found]


def ring(kind: str, payload: int, group: int) -> int:
  """Bytes that each chip of a ring of `group` sends."""
  if kind == "collective-permute":
    return payload
  return (2 if kind == "all-reduce" else 1) * payload * (group - 1) // group


def _payload(kind: str, result: str, started: bool, group: int) -> int:
  """Bytes of the whole that a collective with this result is about."""
  arrays = size(result)
  if started and kind != "all-reduce" and len(arrays) > 1:  # operand, then result, then counters
    arrays = arrays[1:2]
  return sum(arrays) * (group if kind == "reduce-scatter" else 1)


def _times(text: str) -> collections.Counter[str]:
  """How often each computation runs in one step. A branch counts as if it were taken."""
  calls: dict[str, list[tuple[str, int]]] = collections.defaultdict(list)
  bounds: dict[str, int] = collections.Counter()
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
    for one, several in _CALLED.findall(rest):
      calls[computation] += [(name.strip().lstrip("%"), 1) for name in (several.split(",") if several else [one])]
  for computation, condition, body, rest in whiles:
    known = re.search(r'known_trip_count[^\d}]*"?(\d+)', rest)
    calls[computation].append((body, int(known[1]) if known else max(bounds[condition], 1)))
  times: collections.Counter[str] = collections.Counter()

  def run(computation: str, count: int) -> None:
    times[computation] += count
    for called, each in calls[computation]:
      run(called, count * each)

  run(entry, 1)
  return times


def _instructions(text: str) -> Iterator[tuple[str, str, str, str, str]]:
  """(computation, name, result's shape, opcode, all that follows) of every instruction."""
  computation = ""
  for line in text.splitlines():
    if head := _HEAD.match(line):
      computation = head[2]
    elif found := _INSTRUCTION.match(line):
      yield computation, *found.groups()  # type: ignore[misc]
