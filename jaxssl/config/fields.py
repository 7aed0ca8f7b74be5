"""Describes every config field by its path, type, default and meaning, read from the dataclasses and their comments."""

import ast
import dataclasses
import functools
import inspect
import re
import typing
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from jaxssl.config.parse import type_name
from jaxssl.config.schema import Config
from jaxssl.core.errors import UserError, nearest_name

WORDS = {"true": True, "false": False, "none": None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Field:
  """One field, such as "optim.lr", or "views.GROUP.size" for all view groups."""

  path: str
  type: str
  default: str  # empty if the field must be set
  meaning: str


def fields_of(cls: type, prefix: str = "", defaults: Any = None) -> Iterator[Field]:
  """Yields the fields of a dataclass and of the dataclasses in it; `defaults` is an instance with other default values."""
  hints, comments = typing.get_type_hints(cls), meanings(cls)
  for field in dataclasses.fields(cls):
    kind, path = hints[field.name], prefix + field.name
    default = getattr(defaults, field.name, field.default)
    if typing.get_origin(kind) is Mapping:
      inner = typing.get_args(kind)[1]
      if dataclasses.is_dataclass(inner):
        yield from fields_of(typing.cast(type, inner), f"{path}.GROUP.")
    elif dataclasses.is_dataclass(default) and default is not dataclasses.MISSING:
      yield from fields_of(kind, f"{path}.", default)
    else:
      shown = "" if default is dataclasses.MISSING else _shown(default)
      yield Field(path=path, type=type_name(kind), default=shown, meaning=comments.get(field.name, ""))


def _shown(value: Any) -> str:
  if isinstance(value, tuple):
    return ",".join(map(_shown, value)) or "()"
  if isinstance(value, bool) or value is None:
    return str(value).lower()
  return f"{value:.6g}" if isinstance(value, float) else str(value) or "''"


@functools.cache
def meanings(cls: type) -> Mapping[str, str]:
  """Reads the comments of a dataclass's fields from its source: those above a field and the one at its end.

  Returns an empty mapping if the source is not available.
  """
  try:
    lines = inspect.getsource(cls).splitlines()
  except (OSError, TypeError):
    return {}
  comments: dict[str, str] = {}
  above: list[str] = []
  for line in map(str.strip, lines):
    if line.startswith("# "):
      above.append(line[2:])
      continue
    code, _, beside = line.partition("  # ")
    if field := re.match(r"(\w+): ", code):
      comments.setdefault(field[1], " ".join([*above, beside]).strip())
    above = []
  return comments


@functools.cache
def paths() -> tuple[str, ...]:
  """Returns the dotted paths of all fields and groups of a config, except those of views and methods."""
  leaves = [field.path for field in fields_of(Config) if ".GROUP." not in field.path]
  groups = {".".join(path.split(".")[:n]): None for path in leaves for n in range(1, path.count(".") + 1)}
  return (*leaves, *groups, "views", "method")


def type_of(path: str) -> Any:
  """Returns the type of a config's field; `Any` for fields of a method. Raises UserError if there is no such field."""
  kind: Any = Config
  parts = path.split(".")
  for number, part in enumerate(parts):
    if kind is Any:
      return Any
    if typing.get_origin(kind) is Mapping:
      kind = typing.get_args(kind)[1]
    elif dataclasses.is_dataclass(kind):
      hints = typing.get_type_hints(kind)
      if part not in hints:
        known = paths() if parts[0] != "views" else [".".join([*parts[:number], name]) for name in hints]
        raise UserError(f"{path}: unknown field; did you mean {nearest_name(path, known)}?")
      kind = hints[part]
    else:
      raise UserError(f"{path}: {'.'.join(parts[:number])} is a value, not a group of fields")
  return kind


def parse_value(path: str, text: str) -> Any:
  """Parses the text of a flag: text for a text field, otherwise a Python literal, or true, false or none in any case.

  Raises UserError if there is no such field.
  """
  kind = type_of(path)
  if kind is str or (typing.get_origin(kind) is Literal and isinstance(typing.get_args(kind)[0], str)):
    return text
  if text.lower() in WORDS:
    return WORDS[text.lower()]
  try:
    with warnings.catch_warnings(action="ignore"):  # Python warns about text that resembles code
      return ast.literal_eval(text)
  except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # the last two: deeply nested brackets
    return text
