"""Registries of classes and functions by name, which files of the user may extend."""

import dataclasses
from collections.abc import Callable
from typing import TypeVar, dataclass_transform

from jaxssl.core.errors import UserError, unknown_name

T = TypeVar("T")
Entry = TypeVar("Entry")
registered: list[str] = []  # the module of each entry that a file of the user has added


class Registry(dict[str, T]):
  """Entries by name, in the order of registration. `field` is the config field that names an entry.

  `dataclass`: entries are classes, which become frozen, keyword-only dataclasses unless they are dataclasses already.
  """

  def __init__(self, field: str, dataclass: bool = False):
    super().__init__()
    self.field, self._dataclass = field, dataclass

  @dataclass_transform(frozen_default=True, kw_only_default=True)
  def register(self, *names: str) -> Callable[[Entry], Entry]:
    """Returns a decorator that adds an entry, or replaces that of the same module. Raises UserError if a name is taken."""

    def add(entry: Entry) -> Entry:
      module = entry.__module__
      for name in names:
        if name in self and self[name].__module__ != module:
          raise UserError(f"{self.field}={name}: registered by {self[name].__module__} and by {module}; rename one of them")
        self[name] = entry  # type: ignore[assignment]
      if not module.startswith("jaxssl."):  # a user's file may be the first to import one of our modules
        registered.append(module)
      own = "__dataclass_fields__" in vars(entry)
      return dataclasses.dataclass(frozen=True, kw_only=True)(entry) if self._dataclass and not own else entry  # type: ignore

    return add

  def find(self, name: str, field: str = "") -> T:
    """Returns the entry of a name. Raises UserError, which names `field` (default: the registry's), for an unknown one."""
    if not isinstance(name, str) or name not in self:
      raise unknown_name(f"{field or self.field}={name!r}: unknown", name, sorted(self))
    return self[name]
