"""The config files of the project and the recipes that their docstrings list."""

import ast
import pathlib
import re

from jaxssl.core.errors import UserError, nearest_name

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
SMALLER = {"cpu": "minutes on two CPU cores, the same budget for every method", "runlocal": "a minute on a CPU"}


def config_files() -> list[pathlib.Path]:
  """Returns the project's config files, relative to the current folder if they are below it."""
  here = pathlib.Path.cwd()
  return [path.relative_to(here) if path.is_relative_to(here) else path for path in sorted(CONFIGS.glob("*.py"))]


def config_file(name: str) -> pathlib.Path:
  """Finds a config file by name, e.g. "nnboot", "nnboot.py" or "configs/nnboot.py". Raises UserError if there is none."""
  files = {path.stem: path for path in config_files()}
  stem = pathlib.PurePath(name.partition(":")[0]).stem
  if stem not in files:
    raise UserError(f"{name}: no such config file; did you mean {nearest_name(stem, files)}? See jaxssl config list")
  return files[stem]


def recipes_of(path: pathlib.Path) -> dict[str, str]:
  """Reads a config file's recipes and what each is, in one line, from the head of its docstring: "" is the default recipe.

  A line of the docstring that starts with FILE.py or FILE.py:RECIPE describes a recipe.
  """
  head = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
  lines = re.findall(rf"^\S*{re.escape(path.name)}(?::(\S+))?\s+(\S.*)$", head, re.MULTILINE)
  return dict(lines)
