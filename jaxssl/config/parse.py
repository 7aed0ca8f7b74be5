"""Reads nested mappings into typed dataclasses and checks every name and type."""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, Union

from jaxssl.core.errors import UserError, nearest_name

T = TypeVar("T")


def read(cls: type[T], values: Mapping[str, Any], where: str = "", convert: Mapping[type, Callable] | None = None) -> T:
  """Reads a mapping into the dataclass `cls`.

  `where` prefixes field names in messages. `convert` maps a field type to a function of (value, name) that returns the value.
  Raises UserError for an unknown field (naming the nearest one), a missing field, or a value of the wrong type.
  """
  if not isinstance(values, Mapping):
    raise UserError(f"{where.removesuffix('.') or 'config'}={values!r}: a value; expected a group of fields")
  hints = typing.get_type_hints(cls)
  fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
  for name in values:
    if name not in fields:
      raise UserError(f"{where}{name}: unknown field; did you mean {nearest_name(where + name, [where + f for f in fields])}?")
  for name, field in fields.items():
    required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    if required and name not in values:
      raise UserError(f"{where}{name}: missing; expected {type_name(hints[name])}")
  return cls(**{name: _value(hints[name], value, where + name, convert or {}) for name, value in values.items()})


def type_name(kind: Any) -> str:
  """Names a field's type as a user writes its values: `int`, `sgd | adamw`, `list of float`, `(float, float)`."""
  origin, args = typing.get_origin(kind), typing.get_args(kind)
  if origin is Literal:
    return " | ".join(map(str, args))
  if origin in (Union, types.UnionType):
    return " | ".join(type_name(a) for a in args)
  if origin is tuple:
    return f"list of {type_name(args[0])}" if args[-1] is Ellipsis else f"({', '.join(map(type_name, args))})"
  if kind in (int, float, str, bool, type(None), Any):
    return {type(None): "none", Any: "any"}.get(kind) or kind.__name__
  return "schedule" if getattr(kind, "__name__", "").startswith("Schedule") else "group of fields"


def _value(kind: Any, value: Any, where: str, convert: Mapping[type, Callable]) -> Any:
  """Reads one value as the type `kind`, or raises UserError."""
  origin, args = typing.get_origin(kind), typing.get_args(kind)
  if kind is Any:
    return value
  if kind in convert:
    return convert[kind](value, where)
  if origin in (Union, types.UnionType):
    if value is None and type(None) in args:
      return None
    return _value(next(a for a in args if a is not type(None)), value, where, convert)
  if origin is Literal:
    if value not in args or isinstance(value, bool) != isinstance(args[0], bool):
      near = f"; did you mean {nearest_name(value, map(str, args))}?" if isinstance(value, str) else ""
      raise UserError(f"{where}={value!r}: unknown value; expected {', '.join(map(str, args))}{near}")
    return value
  if origin is tuple:
    if isinstance(value, str):  # from a flag: knn,linear; nothing after the equals sign is an empty list
      value = value.split(",") if value else ()
    items = value if isinstance(value, (tuple, list)) else (value,)
    if args[-1] is not Ellipsis and len(items) != len(args):
      raise UserError(f"{where}={value!r}: {len(items)} values; expected {len(args)}")
    each = [args[0]] * len(items) if args[-1] is Ellipsis else args
    return tuple(_value(a, item, f"{where}[{i}]", convert) for i, (a, item) in enumerate(zip(each, items, strict=True)))
  if dataclasses.is_dataclass(kind) or origin is not None:
    if not isinstance(value, Mapping):
      raise UserError(f"{where}={value!r}: a value; expected a group of fields")
    if origin is not None:
      return {str(key): _value(args[1], item, f"{where}.{key}", convert) for key, item in value.items()}
    return read(typing.cast(type, kind), value, where + ".", convert)
  if kind is float and isinstance(value, int) and not isinstance(value, bool):
    try:
      return float(value)
    except OverflowError as error:
      raise UserError(f"{where}: too large for a {kind.__name__}") from error
  if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
    raise UserError(f"{where}={value!r}: a {type(value).__name__}; expected {kind.__name__}")
  return value
