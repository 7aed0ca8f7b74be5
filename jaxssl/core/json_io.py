"""Reads and writes a run's JSON and JSONL files. Damaged JSONL lines are skipped; a damaged JSON file raises `UserError`."""

import itertools
import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from jaxssl.core import atomic, paths, retry
from jaxssl.core.errors import UserError

MAX_DEPTH = 32  # of nested lists and objects


def read(path: pathlib.Path) -> dict[str, Any]:
  """Reads a file that holds one JSON object. Raises UserError if it cannot be read or holds anything else."""
  try:
    return parse(paths.read_bytes(path).decode("utf-8"))
  except (OSError, ValueError) as error:
    raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def write(path: pathlib.Path, document: Mapping[str, Any]) -> None:
  """Writes one JSON object, atomically."""
  atomic.write_text(path, json.dumps(document, indent=2) + "\n")


def parse(text: str) -> dict[str, Any]:
  """Parses one JSON object. Raises ValueError for anything else."""
  try:
    parsed = json.loads(text)
  except RecursionError as error:
    raise ValueError("it is nested too deeply") from error
  if not isinstance(parsed, dict):
    raise ValueError("it does not hold a JSON object")
  level: list[Any] = [parsed]
  for _ in range(MAX_DEPTH):
    groups = [group.values() if isinstance(group, dict) else group for group in level if isinstance(group, dict | list)]
    level = [item for group in groups for item in group]
  if level:
    raise ValueError("it is nested too deeply")
  return parsed


def lines(path: pathlib.Path) -> list[dict[str, Any]]:
  """Reads the undamaged lines with a `step` of a JSONL file; none if there is none. Raises UserError if it is unreadable."""
  try:
    text = paths.read_bytes(path).decode("utf-8", errors="replace") if path.exists() else ""
  except OSError as error:
    raise UserError(f"{path} cannot be read: {error}") from error
  records = []
  for line in filter(None, text.split("\n")):
    try:
      record = parse(line)
    except ValueError:
      continue
    if count(record.get("step")):
      records.append(record)
  return records


def append_line(path: pathlib.Path, record: Mapping[str, Any]) -> None:
  """Adds a line to a JSONL file."""
  size = path.stat().st_size if path.exists() else 0

  tries = itertools.count()

  def append() -> None:
    again = next(tries)
    with path.open("ab") as file:
      if again:
        file.truncate(size)  # removes what an earlier try may have written
      file.write(f"{json.dumps(record)}\n".encode())

  retry.call(f"writing {path}", append)


def finite(value: object) -> float | None:
  """Returns a number that is finite in float32, as all values of a run are; None for anything else."""
  if not isinstance(value, int | float) or isinstance(value, bool):
    return None
  return float(value) if abs(value) < 3.5e38 else None  # false for NaN


def count(value: object) -> bool:
  """Returns whether a value is a nonnegative integer of at most 63 bits."""
  return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def truncate_lines(path: pathlib.Path, last_step: int) -> None:
  """Removes lines of steps after `last_step` from a JSONL file; creates the file if it does not exist."""
  write_lines(path, [line for line in lines(path) if line["step"] <= last_step])


def write_lines(path: pathlib.Path, records: Iterable[Mapping[str, Any]]) -> None:
  """Writes all lines of a JSONL file."""
  atomic.write_text(path, "".join(json.dumps(record) + "\n" for record in records))
