"""Reads a run's JSON and JSONL files. Damaged JSONL lines are skipped; a damaged JSON file raises `UserError`."""

import json
import pathlib
from typing import Any

from jaxssl.core import atomic
from jaxssl.core.errors import UserError

DEEPEST = 32  # levels of nested lists and objects


def read(path: pathlib.Path) -> dict[str, Any]:
  """Reads a file of one object. Raises UserError if it cannot be read, or holds anything else."""
  try:
    return parse(path.read_text(encoding="utf-8"))
  except (OSError, ValueError) as error:
    raise UserError(f"{path} cannot be read: {error}") from error


def parse(text: str) -> dict[str, Any]:
  """Parses text of one object. Raises ValueError for anything else."""
  try:
    found = json.loads(text)
  except RecursionError as error:
    raise ValueError("its objects lie too deep inside each other") from error
  if not isinstance(found, dict):
    raise ValueError("it holds no JSON object")
  level: list[Any] = [found]
  for _ in range(DEEPEST):
    level = [item for of in level if isinstance(of, dict | list) for item in (of.values() if isinstance(of, dict) else of)]
  if level:
    raise ValueError("its objects lie too deep inside each other")
  return found


def lines(path: pathlib.Path) -> list[dict[str, Any]]:
  """Reads a file with one object a line, each with a `step`; empty without a file. Damaged lines are skipped.

  Raises UserError if the file cannot be read.
  """
  try:
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
  except OSError as error:
    raise UserError(f"{path} cannot be read: {error}") from error
  found = []
  for line in filter(None, text.split("\n")):
    try:
      one = parse(line)
    except ValueError:
      continue
    if count(one.get("step")):
      found.append(one)
  return found


def finite(value: object) -> float | None:
  """Returns a number that is finite in float32, as all of a run's values are; None for anything else."""
  if not isinstance(value, int | float) or isinstance(value, bool):
    return None
  return float(value) if abs(value) < 3.5e38 else None  # which NaN is not


def count(value: object) -> bool:
  """Returns whether a value is an integer of 63 bits, at least 0."""
  return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def truncate_lines(path: pathlib.Path, last_step: int) -> None:
  """Removes the lines of later steps from a JSONL file; creates the file if there is none."""
  kept = [line for line in lines(path) if line["step"] <= last_step]
  atomic.write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
