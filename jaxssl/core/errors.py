"""`UserError`, range checks, one-line text, and the nearest name of a misspelled one."""

import contextlib
import difflib
import re
from collections.abc import Collection, Iterable, Iterator

from jaxssl.core.exit_codes import AGAIN, MISTAKE

# Line breaks and other control characters, characters that change the direction of text, and lone surrogates, which stand
# for bytes of a file name that are not UTF-8
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def one_line(text: str) -> str:
  """Escapes the characters of `text`, e.g. of a file name, that would break a line or change its direction."""
  return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


class OneLineError(Exception):
  """An error that its message explains, without a traceback. `exit_code`: of a command that ends with it."""

  exit_code = MISTAKE

  def __str__(self) -> str:
    return one_line(super().__str__())

  def _render_traceback_(self) -> list[str]:
    """Shows one line in a notebook (IPython calls this), where `%debug` still has the traceback."""
    return [f"{self._shown_as}: {self}"]

  _shown_as = "UserError"


class UserError(OneLineError):
  """A mistake in the user's input, in one line: `FIELD=VALUE: problem; expected ...; hint`."""


class Unavailable(OneLineError):
  """Storage did not respond within the time that `retry` allows: the same command may succeed later, and resumes a run.

  It is neither a UserError nor an OSError, so that no handler takes it for a mistake or for a damaged file.
  """

  exit_code = AGAIN
  _shown_as = "Unavailable"


def require(holds: bool, field: str, value: object, expected: str) -> None:
  """Raises UserError for a field that is out of range."""
  if not holds:
    raise UserError(f"{field}={value}: out of range; expected {expected}")


@contextlib.contextmanager
def renamed(field: str, option: str) -> Iterator[None]:
  """Lets the errors about a field name the option of the command that sets it."""
  try:
    yield
  except OneLineError as error:
    text = str(error)
    if text.startswith(f"{field}="):
      error.args = (option + text.removeprefix(field),)
    raise


def unknown_name(problem: str, name: object, allowed: Collection[str]) -> UserError:
  """Returns the error for a name that is not one of `allowed`: the problem, the allowed names, and the nearest."""
  return UserError(f"{problem}; expected {', '.join(allowed)}; did you mean {nearest_name(str(name), allowed)}?")


def nearest_name(name: str, allowed: Iterable[str]) -> str:
  """Returns the most similar allowed name, or "none". The last part of a path counts as much as all of it."""

  def last_part(path: str) -> str:
    return path.lstrip("-").rpartition(".")[2]

  def similarity(candidate: str) -> float:
    pairs = ((name, candidate), (last_part(name), last_part(candidate)))  # so that `epochs` finds `train.epochs`
    return sum(difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)

  return max(allowed, key=similarity, default="none")
