"""User errors, and how untrusted text is shown in one line."""

import difflib
import re

# Control characters such as line breaks, characters that change the direction of text, and surrogates, which stand for bytes of
# file names that are not text
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def one_line(text: str) -> str:
  """Escapes characters of untrusted text, such as a file name, that would break a line or change its direction."""
  return _UNSHOWN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class UserError(Exception):
  """A mistake in the user's input. The message is one line: FIELD=VALUE: problem; expected ...; hint."""

  def __str__(self) -> str:
    return one_line(super().__str__())


def nearest_name(name: str, allowed: list[str], full: str = "") -> str:
  """Returns the allowed name closest to `name`, or to `full`."""
  return (difflib.get_close_matches(full or name, allowed, n=1, cutoff=0.0) or ["none"])[0]
