"""The config file of a suggestion: its text, and the config that it makes."""

import pathlib
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from jaxssl.config import load
from jaxssl.config.parse import read
from jaxssl.config.schema import Config
from jaxssl.core.errors import one_line
from jaxssl.inspect.suggest import ConfigLine, Facts, batch_size, code, cpu_epochs

_HEAD = '''"""{what}. Suggested by `jaxssl inspect`; no network has been trained with it.

{file}   the reasons stand above each line; change what you know better
  jaxssl train --config {file}

Smaller: "{file}:cpu" (minutes on two CPU cores), "{file}:runlocal" (a minute, on embedded digits: does it run?).
"""

from jaxssl.augment import presets
from jaxssl.config import recipes
from jaxssl.config.recipes import Fields


def get_config(recipe: str = "") -> Fields:
  """Makes the config, or one of its smaller versions."""
  config = recipes.choose(recipe, {{"": images}})
  if "cpu" in recipe.split(",") and config.data.source == "folder":  # a small set is seen more often
    config.data.limit = {limit}
    config.train.update({{"batch_size": min(config.train.batch_size, {batch}), "epochs": {epochs}}})
  return config


def images() -> Fields:
  """All that follows from the images."""
  config = recipes.defaults()
'''
WIDTH = 128


def text(lines: Sequence[ConfigLine], facts: Facts, file: str, given: Mapping[str, Any]) -> str:
  """Writes a config file of this name; `given`: fields of data that were asked for, and come last."""
  head = _HEAD.format(
    what=textwrap.shorten(_quoted(f"Images of {pathlib.PurePath(facts.path).name}"), 60),
    file=_quoted(file),
    limit=10_000 if facts.train > 10_000 else 0,
    batch=batch_size(facts),
    epochs=cpu_epochs(facts),
  )
  if given:
    lines = [*lines, ConfigLine(f"config.data.update({code(given)})", "as asked for")]
  return f"{head}{body(lines)}  return config\n"


def _quoted(name: str) -> str:
  """Writes a file's name so that a docstring can hold it."""
  return one_line(name).replace("\\", "/").replace('"', "'")


def body(lines: Sequence[ConfigLine]) -> str:
  """Writes the lines, each below the reason for it."""
  wrapped = [textwrap.indent(textwrap.fill(line.why, WIDTH - 4), "  # ") for line in lines]
  return "".join(f"{why}\n  {line.code}\n" for why, line in zip(wrapped, lines, strict=True))


def config_of(text: str) -> Config:
  """Gives the config that such a file makes."""
  with tempfile.TemporaryDirectory() as folder:
    file = pathlib.Path(folder) / "config.py"
    file.write_text(text, encoding="utf-8")
    return read(Config, load.load(str(file)))
