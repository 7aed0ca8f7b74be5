"""The code blocks of the pages of the documentation, and the commands in them."""

import pathlib
import re
import shlex
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
STARTS = (["jaxssl"], ["python", "-m", "jaxssl.main"])
BLOCK = re.compile(
  r"(?:<!-- not executed: (?P<reason>[^>]+) -->\n+)?^```(?P<kind>\w*)\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE
)


class Block(NamedTuple):
  """A code block. kind: the language, empty for a command or an output; reason: why tests do not execute it, if they do not."""

  kind: str
  text: str
  reason: str

  @property
  def commands(self) -> list[list[str]]:
    """The words of each jaxssl command, without the name of the program; none of a synopsis with optional parts."""
    if self.kind not in ("", "bash", "sh"):
      return []
    found = []
    for line in self.text.replace("\\\n", " ").splitlines():
      for start in STARTS:
        if line.split()[: len(start)] == start and "[--" not in line:
          found.append(shlex.split(line, comments=True)[len(start) :])
    return found


def blocks(page: pathlib.Path) -> list[Block]:
  """Returns the blocks of a page, in order."""
  return [Block(match["kind"], match["text"], match["reason"] or "") for match in BLOCK.finditer(page.read_text())]
