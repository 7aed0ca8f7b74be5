"""Nested mappings read into typed dataclasses: every name and type is checked, once."""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, Union

from jaxssl.core.errors import UserError, nearest_name

T = TypeVar("T")


def read(cls: type[T], values: Mapping[str, Any], where: str = "", convert: Mapping[type, Callable] | None = None) -> T:
  """Reads a mapping into the dataclass `cls`.

  `where` prefixes field names in messages; `convert` maps a field type to the function that makes it from (value, name).
  Raises UserError for an unknown field (with the nearest name), a missing field, or a value of another type.
  """
  if not isinstance(values, Mapping):
    raise UserError(f"{where.removesuffix('.') or 'a config'}={values!r} is not a group of fields")
  hints = typing.get_type_hints(cls)
  fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
  for name in values:
    if name not in fields:
      raise UserError(
        f"{where}{name} is no config field; nearest: {nearest_name(name, [where + f for f in fields], where + name)}"
      )
  for name, field in fields.items():
    required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    if required and name not in values:
      raise UserError(f"{where}{name} is missing")
  return cls(**{name: _value(hints[name], value, where + name, convert or {}) for name, value in values.items()})


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
      raise UserError(f"{where}={value!r} is not allowed; allowed: {', '.join(map(str, args))}")
    return value
  if origin is tuple:
    if isinstance(value, str):  # a flag's words: knn,linear; none where there is nothing after the equals sign
      value = value.split(",") if value else ()
    items = value if isinstance(value, (tuple, list)) else (value,)
    if args[-1] is not Ellipsis and len(items) != len(args):
      raise UserError(f"{where}={value!r} has {len(items)} values; it takes {len(args)}")
    each = [args[0]] * len(items) if args[-1] is Ellipsis else args
    return tuple(_value(a, item, f"{where}[{i}]", convert) for i, (a, item) in enumerate(zip(each, items, strict=True)))
  if dataclasses.is_dataclass(kind) or origin is not None:
    if not isinstance(value, Mapping):
      raise UserError(f"{where}={value!r} is not a group of fields")
    if origin is not None:
      return {str(key): _value(args[1], item, f"{where}.{key}", convert) for key, item in value.items()}
    return read(typing.cast(type, kind), value, where + ".", convert)
  if kind is float and isinstance(value, int) and not isinstance(value, bool):
    try:
      return float(value)
    except OverflowError as error:
      raise UserError(f"{where} is a whole number that no {kind.__name__} can hold") from error
  if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
    raise UserError(f"{where}={value!r} is of type {type(value).__name__}; it takes {kind.__name__}")
  return value
