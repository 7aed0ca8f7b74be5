"""Describes every config field by its path, type, default and meaning, read from the dataclasses and their comments."""

import ast
import dataclasses
import functools
import inspect
import re
import typing
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from jaxssl.config.roles import Role, marked
from jaxssl.config.schema import Config
from jaxssl.core import UserError, nearest_name

WORDS = {"true": True, "false": False, "none": None}


class Field(NamedTuple):
  """One field, such as "optim.lr", or "views.GROUP.size" for all view groups."""

  path: str
  kind: Any  # its type
  default: str  # empty if the field must be set
  meaning: str
  role: Role  # when a run is resumed


def fields_of(cls: type, prefix: str = "", defaults: Any = None, role: Role = "result") -> Iterator[Field]:
  """Yields the fields of a dataclass and of the dataclasses in it.

  `defaults`: an instance with other default values; `role`: of fields that are not marked.
  """
  hints, comments = typing.get_type_hints(cls), meanings(cls)
  for field in dataclasses.fields(cls):
    kind, path = hints[field.name], prefix + field.name
    default, own = getattr(defaults, field.name, field.default), marked(field) or role
    if typing.get_origin(kind) is Mapping:
      inner = typing.get_args(kind)[1]
      if dataclasses.is_dataclass(inner):
        yield from fields_of(typing.cast(type, inner), f"{path}.GROUP.", role=own)
    elif dataclasses.is_dataclass(default) and default is not dataclasses.MISSING:
      yield from fields_of(kind, f"{path}.", default, own)
    else:
      shown = "" if default is dataclasses.MISSING else _shown(default)
      yield Field(path=path, kind=kind, default=shown, meaning=comments.get(field.name, ""), role=own)


def _shown(value: Any) -> str:
  if isinstance(value, tuple):
    return ",".join(map(_shown, value)) or "()"
  if isinstance(value, bool) or value is None:
    return str(value).lower()
  return f"{value:.6g}" if isinstance(value, float) else str(value) or "''"


@functools.cache
def meanings(cls: type) -> Mapping[str, str]:
  """Reads the comments above a dataclass's fields and at their ends from its source and its bases'; none if there is none."""
  try:
    source = "".join(map(inspect.getsource, cls.__mro__[:-1]))
  except (OSError, TypeError):
    return {}
  comments: dict[str, str] = {}
  for above, name, beside in re.findall(r"^((?: *# .*\n)*) *(\w+): .*?(?:  # (.*))?$", source, re.MULTILINE):
    lines = [line.strip()[2:] for line in above.splitlines()]
    comments.setdefault(name, " ".join([*lines, beside]).strip())
  return comments


@functools.cache
def kinds(view_group: str = "GROUP") -> Mapping[str, Any]:
  """Returns the type of every field of a config by dotted path, with the name of one view group, and `Any` for groups."""
  leaves = {field.path.replace("GROUP", view_group): field.kind for field in fields_of(Config)}
  groups = {path.rsplit(".", count)[0]: Any for path in leaves for count in range(1, path.count(".") + 1)}
  return {**leaves, **groups, "method": Any}


def type_of(path: str) -> Any:
  """Returns the type of a config's field; `Any` for groups and fields of a method. Raises UserError for an unknown field."""
  if path.startswith("method."):
    return Any
  first, *rest = path.split(".")
  if first == "views" and len(rest) == 1 and f"views.GROUP.{rest[0]}" in kinds():
    raise UserError(f"{path}: names no group of views; expected a field such as views.global.{rest[0]}")
  known = kinds(rest[0] if first == "views" and rest else "GROUP")
  if path not in known:
    raise UserError(f"{path}: unknown field; did you mean {nearest_name(path, known)}?")
  return known[path]


def parse_value(path: str, text: str) -> Any:
  """Parses a flag: text for a text field, otherwise a Python literal, or true, false, none. Raises UserError: unknown field."""
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
