"""The options, fields, recipes and files of the commands in README.md and docs/ exist."""

import os

import pytest

from jaxssl import cli
from jaxssl.config.load import load_config
from tests.docs.blocks import PAGES, ROOT, blocks

SHOWN = [
  pytest.param(words, id=f"{page.stem}: {' '.join(words)[:60]}")
  for page in PAGES
  for block in blocks(page)
  for words in block.commands
]


def test_commands_are_found():
  assert sum(len(block.commands) for block in blocks(PAGES[0])) >= 15 and len(SHOWN) > 40


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


def test_nearly_all_blocks_are_executed():
  written = [block for page in PAGES for block in blocks(page) if block.commands or block.kind == "python"]
  left_out = [block.reason for block in written if block.reason]
  assert len(written) > 60 and len(left_out) <= 0.05 * len(written), left_out
