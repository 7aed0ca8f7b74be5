"""Reads nested mappings into typed dataclasses and checks every name and type."""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union

from jaxssl.core import UserError, nearest_name, require, unknown_name

T = TypeVar("T")
NAMES = {int: "int", float: "float", str: "str", bool: "bool", type(None): "none", Any: "any"}


def read(cls: type[T], values: Any, where: str = "") -> T:
  """Reads a mapping into the dataclass `cls`.

  `where` prefixes field names in messages. A number stands for the field that the class names as its `number_field`, if any.
  Raises UserError for an unknown field (naming the nearest one), a missing field, or a value of the wrong type.
  """
  number_field, values = getattr(cls, "number_field", None), _plain(values)
  if number_field and isinstance(values, int | float):
    values = {number_field: values}
  hints = typing.get_type_hints(cls)
  fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
  values = _group(values, where.removesuffix(".") or "config", next(iter(fields), ""))
  for name in values:
    if name not in fields:
      raise UserError(f"{where}{name}: unknown field; did you mean {nearest_name(where + name, [where + f for f in fields])}?")
  for name, field in fields.items():
    required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    if required and name not in values:
      raise UserError(f"{where}{name}: missing; expected {type_name(hints[name])}")
  return cls(**{name: _value(hints[name], value, where + name) for name, value in values.items()})


def type_name(kind: Any) -> str:
  """Names a field's type as a user writes its values: `int`, `sgd | adamw`, `list of float`, `(float, float)`."""
  origin, args = typing.get_origin(kind), typing.get_args(kind)
  if origin is Literal:
    return " | ".join(map(str, args))
  if origin in (Union, types.UnionType):
    return " | ".join(map(type_name, args))
  if origin is tuple:
    return f"list of {type_name(args[0])}" if args[-1] is Ellipsis else f"({', '.join(map(type_name, args))})"
  return NAMES.get(kind) or ("schedule" if hasattr(kind, "number_field") else "group of fields")


def _plain(value: Any) -> Any:
  """Returns a scalar or an array, of NumPy or JAX, as a number or as lists of numbers; anything else as it is."""
  return value.tolist() if hasattr(value, "tolist") else value


def _group(value: Any, where: str, example: str) -> Mapping[str, Any]:
  if not isinstance(value, Mapping):
    raise UserError(f"{where}={value!r}: a value; expected a group of fields, such as {where}.{example}")
  return value


def _value(kind: Any, value: Any, where: str) -> Any:
  origin, args, value = typing.get_origin(kind), typing.get_args(kind), _plain(value)
  if kind is Any:
    return value
  if dataclasses.is_dataclass(kind):
    return read(typing.cast(type, kind), value, where + ".")
  if origin in (dict, Mapping):
    return {str(key): _value(args[1], item, f"{where}.{key}") for key, item in _group(value, where, "name").items()}
  if origin in (Union, types.UnionType):  # with None
    return None if value is None else _value(args[0], value, where)
  if origin is Literal:
    if value not in args or isinstance(value, bool) != isinstance(args[0], bool):
      raise unknown_name(f"{where}={value!r}: unknown value", value, list(map(str, args)))
    return value
  if origin is tuple:
    if isinstance(value, str):  # from a flag: knn,linear; nothing after the equals sign is an empty list
      value = value.split(",") if value else ()
    if value is None and args[-1] is Ellipsis:
      raise UserError(f"{where}=none: expected {type_name(kind)}; an empty one is --config.{where}=")
    items = value if isinstance(value, tuple | list) else (value,)
    kinds = args[:1] * len(items) if args[-1] is Ellipsis else args
    if len(items) != len(kinds):
      raise UserError(f"{where}={value!r}: {len(items)} values; expected {len(kinds)}")
    return tuple(_value(each, item, f"{where}[{i}]") for i, (each, item) in enumerate(zip(kinds, items, strict=True)))
  if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
    try:
      value = float(value)
    except OverflowError as error:
      raise UserError(f"{where}: too large for a float") from error
    require(math.isfinite(value), where, value, "a finite number")
    return value
  if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
    expected = "true or false" if kind is bool else kind.__name__
    raise UserError(f"{where}={value!r}: a {type(value).__name__}; expected {expected}")
  return value
