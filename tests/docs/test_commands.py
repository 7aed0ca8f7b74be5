"""The options, fields, recipes and files of the commands in README.md and docs/ exist."""

import os
import pathlib
import re
import shlex

import pytest

from jaxssl import cli
from jaxssl.config.load import load_config

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
STARTS = (["jaxssl"], ["python", "-m", "jaxssl.main"])


def commands(page: pathlib.Path) -> list[list[str]]:
  """Returns the words of every jaxssl command in the shell blocks of a page, without the name of the program."""
  blocks = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)
  lines = "".join(text for kind, text in blocks if kind in ("", "bash", "sh")).replace("\\\n", " ").splitlines()
  words = []
  for line in lines:
    for start in STARTS:
      if line.split()[: len(start)] == start and "[--" not in line:  # a synopsis with optional parts
        words.append(shlex.split(line, comments=True)[len(start) :])
  return words


SHOWN = [pytest.param(words, id=f"{page.stem}: {' '.join(words)[:60]}") for page in PAGES for words in commands(page)]


def test_commands_are_found():
  assert len(commands(PAGES[0])) >= 15 and len(SHOWN) > 20


@pytest.mark.parametrize("words", SHOWN)
def test_a_documented_command_is_parsed(words, monkeypatch, capsys):
  monkeypatch.chdir(ROOT)
  command = "train" if words[0].startswith("-") else words[0]
  if "--help" in words:
    return
  options = cli.parser(command).parse(words[words[0] == command :])
  if file := getattr(options, "config", None):
    file, _, recipe = file.replace("METHOD", "simclr").replace(":RECIPE", "").partition(":")
    if os.path.isfile(file):
      load_config(f"{file}:{recipe}".rstrip(":"), options.changes)
