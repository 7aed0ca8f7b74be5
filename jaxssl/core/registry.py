"""Registries of classes and functions by name, which files of the user may extend."""

import dataclasses
from collections.abc import Callable
from typing import TypeVar, dataclass_transform

from jaxssl.core.errors import UserError, unknown_name

T = TypeVar("T")
C = TypeVar("C", bound=type)
registered: list[str] = []  # the module of each entry that a file of the user has added


class Registry(dict[str, T]):
  """Entries by name, in the order of registration. `field` is the config field that names an entry."""

  def __init__(self, field: str):
    super().__init__()
    self.field = field

  def register(self, name: str) -> Callable[[T], T]:
    """Returns a decorator that adds an entry, or replaces that of the same module. Raises UserError if the name is taken."""

    def add(entry: T) -> T:
      module = entry.__module__
      if name in self and self[name].__module__ != module:
        raise UserError(f"{self.field}={name}: registered by {self[name].__module__} and by {module}; rename one of them")
      self[name] = entry
      if not module.startswith("jaxssl."):  # a user's file may be the first to import one of our modules
        registered.append(module)
      return entry

    return add

  @dataclass_transform(frozen_default=True, kw_only_default=True)
  def register_dataclass(self, name: str) -> Callable[[C], C]:
    """Returns a decorator that adds a class, and makes it a frozen, keyword-only dataclass unless it is a dataclass already."""

    def add(entry: C) -> C:
      own = "__dataclass_fields__" in vars(entry)
      return self.register(name)(entry if own else dataclasses.dataclass(frozen=True, kw_only=True)(entry))  # type: ignore

    return add

  def find(self, name: str, field: str = "") -> T:
    """Returns the entry of a name. Raises UserError, which names `field` (default: the registry's), for an unknown one."""
    if not isinstance(name, str) or name not in self:
      raise unknown_name(f"{field or self.field}={name!r}: unknown", name, sorted(self))
    return self[name]
