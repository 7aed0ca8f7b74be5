"""Registries of classes and functions by name, which files of the user may extend."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from jaxssl.core.errors import UserError, nearest_name

T = TypeVar("T")
_loading: list[tuple[str, list[str]]] = []  # the file of the user that is being executed, and what it has registered


@contextlib.contextmanager
def loading(file: str) -> Iterator[list[str]]:
  """Attributes entries to a file of the user while it is executed; yields the list of what it registers."""
  registered: list[str] = []
  _loading.append((file, registered))
  try:
    yield registered
  finally:
    _loading.pop()


class Registry(dict[str, T]):
  """Entries by name, in the order of registration. `field` is the config field that names an entry."""

  def __init__(self, field: str):
    super().__init__()
    self.field = field
    self._files: dict[str, str] = {}

  def register(self, name: str) -> Callable[[T], T]:
    """Returns a decorator that adds an entry. A file that is executed again replaces its own entries.

    Raises UserError if the name is taken.
    """
    loading_file, registered = _loading[-1] if _loading else ("jaxssl", [])

    def add(entry: T) -> T:
      own = entry.__module__.startswith("jaxssl.")  # a user's file may be the first to import one of our modules
      file = "jaxssl" if own else loading_file
      if name in self and (file == "jaxssl" or self._files[name] != file):
        raise UserError(f"{self.field}={name}: registered by {self._files[name]} and by {file}; rename one of them")
      self[name], self._files[name] = entry, file
      if not own:
        registered.append(f"{self.field}={name}")
      return entry

    return add

  def find(self, name: str, field: str = "") -> T:
    """Returns the entry of a name. Raises UserError, which names `field` (default: the registry's), for an unknown one."""
    if not isinstance(name, str) or name not in self:
      near = nearest_name(str(name), self)
      raise UserError(f"{field or self.field}={name!r}: unknown; expected {', '.join(sorted(self))}; did you mean {near}?")
    return self[name]
