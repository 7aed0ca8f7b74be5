"""Registries of classes and functions by name, which files of the user may extend."""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar, dataclass_transform

from jaxssl.core.errors import UserError, unknown_name

T = TypeVar("T")
C = TypeVar("C", bound=type)
registering: set[str] = set()  # files and modules of the user that have registered something
_loading: list[str] = []  # files of the user that are being executed


@contextlib.contextmanager
def loading(file: str) -> Iterator[None]:
  """Attributes entries to a file of the user while it is executed."""
  _loading.append(file)
  try:
    yield
  finally:
    _loading.pop()


class Registry(dict[str, T]):
  """Entries by name, in the order of registration. `field` is the config field that names an entry."""

  def __init__(self, field: str):
    super().__init__()
    self.field = field
    self._files: dict[str, str] = {}

  def register(self, name: str) -> Callable[[T], T]:
    """Returns a decorator that adds an entry, or replaces that of the same file. Raises UserError if the name is taken."""

    def add(entry: T) -> T:
      own = entry.__module__.startswith("jaxssl.")  # a user's file may be the first to import one of our modules
      file = "jaxssl" if own or not _loading else _loading[-1]
      if name in self and (file == "jaxssl" or self._files[name] != file):
        raise UserError(f"{self.field}={name}: registered by {self._files[name]} and by {file}; rename one of them")
      self[name], self._files[name] = entry, file
      if not own:
        registering.update({file}, {entry.__module__} & sys.modules.keys())
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
