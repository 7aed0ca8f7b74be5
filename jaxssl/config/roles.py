"""What may change when a run is resumed: the schema marks each field with its role; an unmarked one has the role `result`."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

T = TypeVar("T")
Role = Literal["result", "observe", "locate", "grow", "fixed"]
MEANINGS: Mapping[Role, str] = {
  "result": "changes what is learned; may change with `--accept-changes`",
  "observe": "what is logged, measured and kept; may change",
  "locate": "where images are, how work is distributed; may change",
  "grow": "may change, but not below the epochs that are done",
  "fixed": "arrays and inputs of the networks; cannot change",
}
_KEY = "role"


def observe(default: T) -> T:
  """Marks a field, or all fields of a group, that says what is logged, measured and kept."""
  return _marked(default, "observe")


def locate(default: T) -> T:
  """Marks a field that says where things are and how work is distributed."""
  return _marked(default, "locate")


def grow(default: T) -> T:
  """Marks a field that says how long the run is."""
  return _marked(default, "grow")


def fixed(default: T) -> T:
  """Marks a field, or all fields of a group, that a run can never change, such as the size of an array of its state."""
  return _marked(default, "fixed")


def result(default: T) -> T:
  """Marks a field of a marked group that changes what is learned."""
  return _marked(default, "result")


def _marked(default: Any, role: Role) -> Any:
  return dataclasses.field(default=default, metadata={_KEY: role})


def marked(field: dataclasses.Field) -> Role | None:
  """Returns the role that a field is marked with, if any."""
  return field.metadata.get(_KEY)


def role_of(cls: type, path: str) -> Role:
  """Returns the role of a field of a dataclass by dotted path; of an unknown field, that of its group."""
  role: Role = "result"
  kind: Any = cls
  for name in path.split("."):
    if typing.get_origin(kind) is Mapping:  # the name of a view group
      kind = typing.get_args(kind)[1]
      continue
    field = next((f for f in dataclasses.fields(kind) if f.name == name), None) if dataclasses.is_dataclass(kind) else None
    if field is None:
      break
    role = marked(field) or role
    kind = typing.get_type_hints(kind)[name]
  return role
