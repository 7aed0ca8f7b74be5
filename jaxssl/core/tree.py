"""Nested mappings, such as configs, and their fields by dotted path: `optim.lr`."""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from jaxssl.core.errors import UserError

T = TypeVar("T")


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """Returns the leaves of a nested mapping by dotted path. An empty mapping is a leaf."""
  leaves: dict[str, Any] = {}
  for name, value in tree.items():
    leaves |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else {prefix + name: value}
  return leaves


def updated(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a copy of nested dicts with the values of `changes`, by dotted path. Raises UserError if a group is not a dict."""
  result = copy.deepcopy(dict(tree))
  for path, value in changes.items():
    *groups, last = path.split(".")
    group = result
    for depth, name in enumerate(groups, 1):
      group = group.setdefault(name, {})
      if not isinstance(group, dict):
        parent = ".".join(groups[:depth])
        raise UserError(f"{parent}: a value, not a group of fields; set {parent} itself")
    group[last] = value
  return result


def replace(config: T, changes: Mapping[str, Any]) -> T:
  """Returns a copy of nested dataclasses with the values of `changes`, by dotted path."""
  for path, value in changes.items():
    first, _, rest = path.partition(".")
    new = replace(getattr(config, first), {rest: value}) if rest else value
    config = dataclasses.replace(config, **{first: new})  # type: ignore[type-var]
  return config
