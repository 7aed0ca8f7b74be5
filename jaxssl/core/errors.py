"""User errors, and how untrusted text is shown in one line."""

import difflib
import re

# Line breaks and other control characters, those that turn the direction of text, and halves of characters, which stand for
# bytes of a file name that are no text
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def one_line(text: str) -> str:
  """Writes text of any origin, such as a file's name, so that it can be shown: what would break or turn a line is escaped."""
  return _UNSHOWN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class UserError(Exception):
  """A mistake in what the user gave: one line that names the field, the value, and what is allowed or what to do."""

  def __str__(self) -> str:
    return one_line(super().__str__())


def nearest_name(name: str, allowed: list[str], full: str = "") -> str:
  """Gives the allowed name closest to `name`, in quotes-free text for a message."""
  return (difflib.get_close_matches(full or name, allowed, n=1, cutoff=0.0) or ["none"])[0]
