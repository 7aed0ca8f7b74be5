"""The rows of a benchmark and the JSON file that keeps them; see README.md for its fields."""

import dataclasses
import fnmatch
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from jaxssl.core import atomic

ROOT = pathlib.Path(__file__).parent / "results"
IDENTITY = "benchmark machine versions commit dirty code".split()  # rows are kept if all of these are the same


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """A measurement and, if there is one, that of a peer on the same machine."""

  key: str  # names the row in every table, and must stay the same from commit to commit, since rows are compared by it
  value: float
  unit: str
  peer: str = ""
  peer_value: float | None = None
  note: str = ""

  @property
  def ratio(self) -> float | None:
    """How many times better than the peer; above 1 is better. None without a peer."""
    return None if self.peer_value is None else gain(self.unit, self.peer_value, self.value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Skip:
  """A row, or the peer of a row, that was not measured, and why."""

  key: str
  reason: str


class Unavailable(Exception):
  """A case cannot be measured here; the message says what is missing."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
  """A number that rows should reach: at least, or at most if lower is better."""

  key: str  # of the rows, with the wildcards of fnmatch
  number: float
  unit: str = ""  # of the rows; "": the number is a ratio to the peer
  source: str  # where the number comes from
  jax: str = ""  # start of the versions of JAX that it holds for

  def applies(self, key: str, jax: str) -> bool:
    """Whether it is a target of this row with this version of JAX."""
    return fnmatch.fnmatchcase(key, self.key) and f"{jax}.".startswith(f"{self.jax}." if self.jax else "")

  def result(self, row: Row) -> dict[str, Any] | None:
    """Returns the target and whether the row meets it, or None if it has no such number."""
    if self.unit not in ("", row.unit):
      raise ValueError(f"{row.key}: the target is in {self.unit}, the row in {row.unit}")
    measured = row.value if self.unit else row.ratio
    if measured is None:
      return None
    met = measured >= self.number if self.at_least else measured <= self.number
    return {"number": self.number, "unit": self.unit, "at_least": self.at_least, "source": self.source, "met": met}

  @property
  def at_least(self) -> bool:
    """Whether higher is better; lower is otherwise."""
    return not self.unit or higher_is_better(self.unit)


def higher_is_better(unit: str) -> bool:
  """Whether more of a unit is better: rates and shares, but neither times nor sizes."""
  return unit.endswith(("/s", "%")) or unit == "tests"


def gain(unit: str, before: float, now: float) -> float:
  """Returns how many times better a value became; above 1 is better."""
  better, worse = (now, before) if higher_is_better(unit) else (before, now)
  return better / worse if worse else float("nan")


class ResultFile:
  """The JSON of one benchmark, written after every row; without a path, nothing is written."""

  def __init__(self, path: pathlib.Path | None, header: dict[str, Any], again: bool = False):
    """Keeps the rows that the file has, if its header says the same of code, machine and versions; `again` drops them."""
    self.path, self.header = path, header
    self.rows: list[dict[str, Any]] = []
    self.skipped: list[dict[str, str]] = []
    self.done: list[str] = []
    if path and path.exists() and not again:
      old = json.loads(path.read_text())
      if all(old.get(field) == header[field] for field in IDENTITY):
        self.header, self.rows, self.done = {field: old[field] for field in header}, old["rows"], old["done"]

  def begin(self, case: str) -> None:
    """Drops what an interrupted attempt left of a case. Until `finish`, the file says that the case did not end."""
    self.rows = [row for row in self.rows if row["case"] != case]
    self.skip(Skip(key=case, reason="stopped before it ended"))

  def add(self, case: str, row: Row, targets: Sequence[Target]) -> dict[str, Any]:
    """Adds a row, with those targets that apply to it, and returns it as it is written."""
    chosen = [target.result(row) for target in targets if target.applies(row.key, self.header["versions"]["jax"])]
    document = {"case": case, **dataclasses.asdict(row), "ratio": row.ratio, "targets": [target for target in chosen if target]}
    self.rows.append(document)
    self.save()
    return document

  def skip(self, skip: Skip) -> None:
    """Adds a line on what was not measured."""
    self.skipped.append(dataclasses.asdict(skip))
    self.save()

  def finish(self, case: str, failed: str = "") -> None:
    """Ends a case: it was measured, or it failed, or could not be measured, for a reason."""
    self.skipped = [entry for entry in self.skipped if entry["key"] != case]
    if failed:
      self.skip(Skip(key=case, reason=failed))
    else:
      self.done.append(case)
      self.save()

  def save(self) -> None:
    """Writes the file."""
    if self.path:
      self.path.parent.mkdir(parents=True, exist_ok=True)
      document = {**self.header, "rows": self.rows, "skipped": self.skipped, "done": self.done}
      atomic.write_text(self.path, json.dumps(document, indent=2) + "\n")
