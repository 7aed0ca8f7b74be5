"""Registries of classes and functions by name, which files of the user may extend."""

from collections.abc import Callable
from typing import TypeVar

from jaxssl.core.errors import UserError, nearest_name

T = TypeVar("T")


class Registry(dict[str, T]):
  """Entries by name, in the order of registration. `field` is the config field that names an entry."""

  def __init__(self, field: str):
    super().__init__()
    self.field = field

  def register(self, name: str) -> Callable[[T], T]:
    """Returns a decorator that adds an entry. A file that is executed again replaces its own entry.

    Raises UserError if another file has registered the name.
    """

    def add(entry: T) -> T:
      known = self.get(name)
      if known is not None and _origin(known) != _origin(entry):
        raise UserError(f"{self.field}={name}: is registered twice, by {_origin(known)} and by {_origin(entry)}; rename one")
      self[name] = entry
      return entry

    return add

  def find(self, name: str) -> T:
    """Returns the entry of a name. Raises UserError for an unknown one."""
    if not isinstance(name, str) or name not in self:
      raise UserError(
        f"{self.field}={name!r}: unknown; nearest: {nearest_name(str(name), list(self))}; expected one of: {', '.join(self)}"
      )
    return self[name]


def _origin(entry: object) -> str:
  return getattr(entry, "__module__", "?")
