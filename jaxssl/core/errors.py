"""`UserError`, one-line text, and the nearest name for a misspelled one."""

import difflib
import re
from collections.abc import Iterable

# Line breaks and other control characters, characters that change the direction of text, and lone surrogates, which stand
# for bytes of a file name that are not UTF-8
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def one_line(text: str) -> str:
  """Escapes the characters of `text`, e.g. of a file name, that would break a line or change its direction."""
  return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


class UserError(Exception):
  """A mistake in the user's input, in one line: `FIELD=VALUE: problem; expected ...; hint`."""

  def __str__(self) -> str:
    return one_line(super().__str__())


def nearest_name(name: str, allowed: Iterable[str]) -> str:
  """Returns the allowed name that is most similar to `name`; "none" if nothing is allowed.

  Names may be dotted paths. The last parts count as much as the whole paths, so that `epochs` finds `train.epochs`.
  """

  def similarity(candidate: str) -> float:
    pairs = ((name, candidate), (_last_part(name), _last_part(candidate)))
    return sum(difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)

  return max(allowed, key=similarity, default="none")


def _last_part(path: str) -> str:
  return path.lstrip("-").rpartition(".")[2]
