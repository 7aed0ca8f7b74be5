"""Finds and loads config files."""

import ast
import inspect
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from jaxssl.config import fields, plugins
from jaxssl.config.parse import read
from jaxssl.config.schema import Config
from jaxssl.core import UserError, nearest_name, tree

_HERE = pathlib.Path(__file__)
_BESIDE = _HERE.parents[2] / "configs"  # in the repository; an installed wheel has them in the package
CONFIGS = _BESIDE if (_BESIDE / "nnboot.py").exists() else _HERE.parents[1] / "configs"


def config_files() -> dict[str, pathlib.Path]:
  """Returns the project's config files by name, the first part of `--config NAME[:RECIPE]`."""
  return {path.stem: path for path in sorted(CONFIGS.glob("*.py"))}


def shortest(path: pathlib.Path) -> str:
  """Returns how `--config` names one of the project's files: relative to the current folder if it is below it, or the name."""
  here = pathlib.Path.cwd()
  return str(path.relative_to(here)) if path.is_relative_to(here) else path.stem


def find(name: str) -> pathlib.Path:
  """Returns the config file of a path or, of the project's own files, of NAME or configs/NAME.py in any folder.

  Raises UserError if there is none.
  """
  stem = pathlib.PurePath(name).stem
  if not os.path.isfile(name) and name in (stem, f"configs/{stem}.py") and stem in config_files():
    return config_files()[stem]
  if not os.path.isfile(name):
    raise _no_file(name)
  return pathlib.Path(name)


def recipes_of(path: pathlib.Path) -> dict[str, str]:
  """Reads the recipes, with a line on each, from a config file's docstring: its lines that start with FILE.py[:RECIPE]."""
  head = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
  return dict(re.findall(rf"^\S*{re.escape(path.name)}(?::(\S+))?\s+(\S.*)$", head, re.MULTILINE))


def load_config(file: str | pathlib.Path, changes: Mapping[str, Any] | None = None) -> Config:
  """Reads a config file such as "configs/nnboot.py:cpu" with changed fields, such as {"train.epochs": 5}. Raises UserError."""
  if not isinstance(file, str | os.PathLike):
    raise UserError(f"config: a {type(file).__name__}; expected the path of a config file, such as configs/nnboot.py:cpu")
  if not isinstance(changes or {}, Mapping):
    raise UserError(f'changes: a {type(changes).__name__}; expected fields with values, such as {{"train.epochs": 5}}')
  loaded, changes = load(str(file)), changes or {}
  method, other = tree.flatten(loaded).get("method.name"), str(changes.get("method.name", ""))
  stems = [stem for stem in config_files() if other.startswith(stem)]  # moco has mocov2 and mocov3
  if stems and other != method:  # the rest is left to the check of method.name
    remedy = f"use --config configs/{stems[-1]}.py"
    raise UserError(f"method.name={other}: {file} is a recipe for {method}, whose fields fit no other method; {remedy}")
  config = read(Config, changed(loaded, changes))
  for plugin in config.plugins:
    plugins.use(plugin)
  return config


def load(file: str) -> dict[str, Any]:
  """Runs `get_config` of FILE[:RECIPE], or NAME[:RECIPE], and returns the config as nested dicts. Raises UserError."""
  name, _, recipe = file.partition(":")
  path = find(name)
  module, registers = plugins.execute(path, "--config")
  try:
    if not hasattr(module, "get_config"):
      raise UserError("no function get_config in the file")
    if recipe and not inspect.signature(module.get_config).parameters:
      raise UserError("get_config takes no recipe; expected the file alone")
    returned = module.get_config(*filter(None, [recipe]))
    config = returned.to_dict() if hasattr(returned, "to_dict") else returned
    if not isinstance(config, dict):
      raise UserError(f"get_config returns a {type(returned).__name__}; expected a config, see docs/config.md")
  except Exception as error:  # the file's code may raise anything
    raise plugins.failure(error, f"--config={file}", str(path.absolute())) from error
  if registers:
    config["plugins"] = [*config.get("plugins", ()), str(path.absolute())]
  return config


def _no_file(name: str) -> UserError:
  """Returns the error for a `--config` that is not a file, with the nearest file in its folder or among the recipes."""
  path, own = pathlib.Path(name), config_files()
  folder = path if os.path.isdir(path) else path.parent
  beside = sorted(folder.glob("*.py")) if os.path.isdir(folder) else []
  names = [*map(str, beside), *map(shortest, own.values()), *([] if folder is path else own)]
  problem = "a folder" if folder is path else "no such file"
  return UserError(f"--config={name}: {problem}; did you mean {nearest_name(name, names)}? See jaxssl config list")


def require_config(config: Any) -> None:
  """Raises UserError unless a program's `config` is one."""
  if not isinstance(config, Config):
    expected = 'expected a config, such as jaxssl.load_config("configs/nnboot.py:cpu")'
    raise UserError(f"config: a {type(config).__name__}; {expected}")


def changed(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a config's nested dicts with changed fields, by dotted path. Raises UserError for an unknown field."""
  for path in changes:
    fields.type_of(path)
  return tree.updated(config, changes)
