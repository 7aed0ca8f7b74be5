"""Nested mappings, such as configs, and their fields by dotted path: `optim.lr`."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """Returns the leaves of a nested mapping by dotted path. An empty mapping is a leaf."""
  leaves: dict[str, Any] = {}
  for name, value in tree.items():
    leaves |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else {prefix + name: value}
  return leaves


def updated(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a copy of a nested mapping with the values of `changes`, by dotted path; missing groups are created.

  Raises KeyError, with the path of the value, if a path leads through a value that is not a mapping.
  """
  result = dict(tree)
  for path, value in changes.items():
    first, _, rest = path.partition(".")
    group = result.get(first, {})
    if rest and not isinstance(group, Mapping):
      raise KeyError(first)
    try:
      result[first] = updated(group, {rest: value}) if rest else value
    except KeyError as error:
      raise KeyError(f"{first}.{error.args[0]}") from None
  return result


def differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
  """Yields (path, value in `a`, value in `b`) for the fields in which two nested mappings differ; None stands for missing."""
  for name in sorted({*a, *b}):
    x, y = a.get(name), b.get(name)
    if isinstance(x, Mapping) and isinstance(y, Mapping):
      yield from differences(x, y, f"{prefix}{name}.")
    elif x != y:
      yield prefix + name, x, y


def replace(config: T, changes: Mapping[str, Any]) -> T:
  """Returns a copy of nested dataclasses with the values of `changes`, by dotted path."""
  for path, value in changes.items():
    first, _, rest = path.partition(".")
    new = replace(getattr(config, first), {rest: value}) if rest else value
    config = dataclasses.replace(config, **{first: new})  # type: ignore[type-var]
  return config
