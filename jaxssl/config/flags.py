"""Command lines: argparse parsers that also read field flags such as `--config.optim.lr=0.1`.

ml_collections' own config flags cannot address a field whose path holds a Python keyword, such as views.global.
"""

import argparse
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from jaxssl.config import fields
from jaxssl.config.load import load_config
from jaxssl.config.schema import Config
from jaxssl.core.errors import UserError, nearest_name
from jaxssl.core.paths import path_of


class Parser(argparse.ArgumentParser):
  """The parser of one command. Raises UserError where argparse would exit."""

  def __init__(self, command: str, description: str, epilog: str | None = None):
    def formatter(prog: str) -> argparse.HelpFormatter:
      return argparse.HelpFormatter(prog, max_help_position=30)

    super().__init__(f"jaxssl {command}", description=description, epilog=epilog, formatter_class=formatter, allow_abbrev=False)
    self._groups: list[str] = []

  def add_fields(self, group: str, help: str) -> None:
    """Adds the flags `--GROUP.FIELD=VALUE`; `config` stands for every group. They are parsed into `options.changes`."""
    self._groups.append(group)
    self.add_argument(f"--{group}.FIELD", metavar="VALUE", help=help, default=argparse.SUPPRESS)

  def parse(self, argv: Sequence[str]) -> argparse.Namespace:
    """Parses a command line; with field flags, `changes` of the result holds their values by dotted path. Raises UserError."""
    words, rest, changes = list(argv), [], {}
    while words:
      word = words.pop(0)
      name, equals, text = word.partition("=")
      path = self._field(name)
      if path is None:
        rest.append(word)
        continue
      if not equals:
        if not words or words[0].startswith("--"):
          raise UserError(f"{name}: missing value; expected {name}=VALUE")
        text = words.pop(0)
      changes[path] = fields.parse_value(path, text)
    for word in rest:  # first, since argparse would take the word after an unknown option for an argument
      if word.startswith("--") and (name := word.partition("=")[0]) not in self._option_string_actions:
        near = nearest_name(name, [*self._options(), *self._field_flags()])
        raise UserError(f"{word}: unknown option of {self.prog}; did you mean {near}?")
    options, unknown = self.parse_known_args(rest)
    if unknown:
      raise UserError(f"{unknown[0]}: unexpected argument; see {self.prog} --help")
    if self._groups:
      options.changes = changes
    return options

  def error(self, message: str) -> NoReturn:
    """Raises UserError."""
    message = re.sub(r"^argument ([^:]*): ", r"\1: ", message)
    raise UserError(message if "did you mean" in message else f"{message}; see {self.prog} --help")

  def _field(self, name: str) -> str | None:
    """Returns the dotted path of a field flag; None for a word that is not one."""
    if not name.startswith("--") or "." not in name:
      return None
    path = name.removeprefix("--").removeprefix("config.")
    allowed = name.startswith("--config.") if "config" in self._groups else path.partition(".")[0] in self._groups
    return path if allowed else None

  def _options(self) -> list[str]:
    return [name for name in self._option_string_actions if name.startswith("--") and not name.endswith(".FIELD")]

  def _field_flags(self) -> list[str]:
    if "config" in self._groups:
      return [f"--config.{path}" for path in fields.paths()]
    return [f"--{path}" for path in fields.paths() if path.partition(".")[0] in self._groups]


def one_of(*allowed: str) -> Callable[[str], str]:
  """Returns an argparse type that accepts these words only."""

  def check(text: str) -> str:
    if text not in allowed:
      near = nearest_name(text, allowed)
      raise argparse.ArgumentTypeError(f"{text!r} is unknown; expected {', '.join(allowed)}; did you mean {near}?")
    return text

  return check


def add_config(parser: Parser, workdir: str | None = None) -> None:
  """Adds `--config`, `--config.FIELD` and, with a help text, `--workdir`."""
  parser.add_argument(
    "--config",
    metavar="FILE[:RECIPE]",
    help="a config file, e.g. configs/nnboot.py, and one of its recipes, e.g. configs/nnboot.py:cifar10; append ,cpu "
    "(minutes on two CPU cores) or ,runlocal (a minute) for a smaller version; `jaxssl config list` lists them all",
  )
  if workdir:
    parser.add_argument("--workdir", metavar="DIR", type=path_of, help=workdir)
  help = "set a field, e.g. --config.optim.lr=0.001 --config.bootstrap.policy=off; `jaxssl config fields` lists them all"
  parser.add_fields("config", help)


def config_of(config: str | None, changes: Mapping[str, Any]) -> Config:
  """Returns the config of `--config` and `--config.FIELD`. Raises UserError."""
  if not config:
    raise UserError("--config: missing; expected FILE[:RECIPE], e.g. --config configs/nnboot.py")
  return load_config(config, changes)


def default_workdir(config: str) -> pathlib.Path:
  """Returns the workdir if none is given: runs/ and the names of the config file and its recipe."""
  file, _, recipe = config.partition(":")
  return pathlib.Path("runs") / "-".join([pathlib.Path(file).stem, *filter(None, recipe.split(","))])


def parse(argv: Sequence[str]) -> tuple[Config, pathlib.Path]:
  """Returns the config and the workdir of `--config FILE[:RECIPE] [--workdir DIR] [--config.FIELD=VALUE ...]`."""
  parser = Parser("train", "")
  add_config(parser, "the workdir")
  options = parser.parse(argv)
  return config_of(options.config, options.changes), options.workdir or default_workdir(options.config)
