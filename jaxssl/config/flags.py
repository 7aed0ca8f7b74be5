"""Flags: --config FILE[:RECIPE], --workdir DIR, and --config.FIELD=VALUE for any field of the config.

ml_collections' own config flags cannot reach a field whose path holds a Python keyword, such as views.global.
"""

import argparse
import ast
import importlib.util
import os
import pathlib
import re
import traceback
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from jaxssl.config.parse import read
from jaxssl.config.schema import Config
from jaxssl.core.errors import UserError
from jaxssl.core.paths import path_of

WORDS = {"true": True, "false": False, "none": None}
_FIELD = re.compile(r"--(config|evals|data)\.[^=]+")


class Parser(argparse.ArgumentParser):
  """Raises UserError where argparse would exit."""

  def error(self, message: str) -> NoReturn:
    """Raises."""
    raise UserError(f"{message}; see --help")


def known(parser: argparse.ArgumentParser, argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
  """Gives what the parser knows, and the words it does not: fields, as --evals.knn.k=3, also where that was two words."""
  words: list[str] = []
  for word in argv:
    if words and _FIELD.fullmatch(words[-1]) and not word.startswith("--"):
      words[-1] += f"={word}"
    else:
      words.append(word)
  return parser.parse_known_args(words)


def parse(argv: Sequence[str]) -> tuple[Config, pathlib.Path]:
  """Gives the config and the workdir that the flags ask for, or raises UserError."""
  parser = Parser(add_help=False, allow_abbrev=False)
  parser.add_argument("--config")
  parser.add_argument("--workdir", type=path_of)
  asked, rest = known(parser, argv)
  if not asked.config:
    raise UserError("--config is missing; for example --config configs/nnboot.py")
  file, _, recipe = asked.config.partition(":")
  fields = load(file, recipe)
  override(fields, rest)
  name = "-".join([pathlib.Path(file).stem, *filter(None, recipe.split(","))])
  return read(Config, fields), asked.workdir or pathlib.Path("runs") / name


def load(file: str, recipe: str) -> dict[str, Any]:
  """Runs `get_config` of a config file, with the recipe's name where one is given, and gives nested dicts."""
  path = pathlib.Path(file)
  if not os.path.isfile(path):
    raise UserError(f"--config {file} is no file")
  spec = importlib.util.spec_from_file_location("jaxssl_config", path) if path.suffix == ".py" else None
  if spec is None or spec.loader is None:
    raise UserError(f"--config {file} is not allowed; it is a Python file such as configs/nnboot.py")
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
      raise UserError(f"--config {file} has no function get_config")
    return module.get_config(*filter(None, [recipe])).to_dict()
  except UserError:
    raise
  except SyntaxError as error:
    raise UserError(f"--config {file}, line {error.lineno}: {error.msg}") from error
  except Exception as error:  # whatever its code raises
    lines = [step.lineno for step in traceback.extract_tb(error.__traceback__) if step.filename == spec.origin]
    where = f", line {lines[-1]}" if lines else ""
    raise UserError(f"--config {file}{where}: {type(error).__name__}: {error}") from error


def override(fields: dict[str, Any], words: Sequence[str]) -> None:
  """Sets fields from words such as --config.optim.lr=0.1; `read` checks names and types."""
  for word in words:
    name, equals, value = word.partition("=")
    if not name.startswith("--config."):
      raise UserError(f"{word} is not understood; see --help")
    if not equals:
      raise UserError(f"{name} has no value: write {name}=VALUE")
    *groups, last = name.removeprefix("--config.").split(".")
    group = fields
    for i, key in enumerate(groups):
      group = group.setdefault(key, {})
      if not isinstance(group, dict):
        raise UserError(f"{name} is no config field: {'.'.join(groups[: i + 1])} is a value, not a group of fields")
    group[last] = value if isinstance(group.get(last), str) else _value(value)


def _value(text: str) -> Any:
  """Reads a Python literal; true, false and none in any case; anything else is text."""
  if text.lower() in WORDS:
    return WORDS[text.lower()]
  try:
    with warnings.catch_warnings(action="ignore"):  # Python's own on text that is nearly code
      return ast.literal_eval(text)
  except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # the last two: for brackets inside brackets
    return text
