"""Command-line parsers with field flags such as `--config.optim.lr=0.1`; those of ml_collections cannot set views.global."""

import argparse
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from jaxssl.config.fields import kinds, parse_value
from jaxssl.config.load import load_config
from jaxssl.config.schema import Config
from jaxssl.core import UserError, nearest_name, path_of


class Parser(argparse.ArgumentParser):
  """Parses the options of one command. Raises UserError for errors on which argparse would exit."""

  def __init__(self, command: str, description: str | None = None):
    formatter: Any = functools.partial(argparse.HelpFormatter, max_help_position=30)
    super().__init__(f"jaxssl {command}", description=description, formatter_class=formatter, allow_abbrev=False)
    self._groups: list[str] = []

  def add_fields(self, group: str, help: str) -> None:
    """Adds the flags `--GROUP.FIELD=VALUE`; `config` stands for every group. They are parsed into `options.changes`."""
    self._groups.append(group)
    self._add_field(f"--{group}.FIELD", help)

  def _add_field(self, name: str, help: str = argparse.SUPPRESS) -> None:
    path = name.removeprefix("--").removeprefix("config.")
    action: Any = {"dest": "changes", "action": "append", "default": [], "type": lambda text: (path, parse_value(path, text))}
    self.add_argument(name, metavar="VALUE", help=help, **action)

  def parse(self, argv: Sequence[str]) -> argparse.Namespace:
    """Parses a command line; with field flags, `changes` of the result holds their values by dotted path. Raises UserError."""
    for word in argv:
      name = word.partition("=")[0]
      if name in self._option_string_actions or not name.startswith("--"):
        continue
      if self._is_field(name):
        self._add_field(name)
      else:  # argparse would read the next word as an argument
        raise UserError(f"{word}: unknown option of {self.prog}; did you mean {self._nearest(name)}?")
    options, unknown = self.parse_known_intermixed_args(argv)  # evaluate knn --workdir DIR linear
    if unknown:
      hint, takes_config = f"see {self.prog} --help", "--config" in self._option_string_actions
      if unknown[0].startswith("-"):
        hint = f"did you mean {self._nearest(unknown[0].partition('=')[0])}?"
      elif takes_config and ".py" in unknown[0]:
        hint = f"did you mean --config {unknown[0]}?"
      raise UserError(f"{unknown[0]}: unexpected argument; {hint}")
    if self._groups:
      options.changes = dict(options.changes)
    return options

  def _nearest(self, name: str) -> str:
    """Returns the most similar option or field; for the name of a group, such as --data, the first field of it."""
    prefix = "--config." if "config" in self._groups else "--"
    fields = [prefix + path for path, kind in kinds().items() if kind is not Any] + [f"{prefix}method.name"]
    fields = [field for field in fields if self._is_field(field)]
    group = prefix + name.lstrip("-")
    inside = [f"{group}.{field}" for field in ("name", "path") if f"{group}.{field}" in fields]
    return inside[0] if inside else nearest_name(name, [*self._option_string_actions, *fields])

  def error(self, message: str) -> NoReturn:
    """Raises UserError."""
    raise UserError(f"{message.removeprefix('argument ')}; see {self.prog} --help")

  def _is_field(self, name: str) -> bool:
    return name.startswith(tuple(f"--{prefix}{group}." for group in self._groups for prefix in ("", "config.")))


def add_config(parser: Parser, workdir: str | None = None) -> None:
  """Adds `--config`, `--config.FIELD` and, with a help text, `--workdir`."""
  parser.add_argument(
    "--config",
    metavar="FILE[:RECIPE]",
    help="a config file, e.g. mine.py or, of this project, nnboot, and one of its recipes, e.g. nnboot:cifar10; append ,cpu "
    "(minutes on two CPU cores) or ,runlocal (a minute) for a smaller version; `jaxssl config list` lists them all",
  )
  if workdir:
    parser.add_argument("--workdir", metavar="DIR", type=path_of, help=workdir)
  help = "set a field, e.g. --config.optim.lr=0.001 --config.bootstrap.policy=off; `jaxssl config fields` lists them all"
  parser.add_fields("config", help)


def resolve(config: str | None, changes: Mapping[str, Any], workdir: pathlib.Path | None = None) -> tuple[Config, pathlib.Path]:
  """Returns the config, and the workdir, by default runs/ and the names in `--config`. Raises UserError."""
  if not config:
    raise UserError("--config: missing; expected FILE[:RECIPE], e.g. --config configs/nnboot.py")
  file, _, recipe = config.partition(":")
  names = [pathlib.Path(file).stem, *filter(None, recipe.split(","))]
  return load_config(config, changes), workdir or pathlib.Path("runs") / "-".join(names)
