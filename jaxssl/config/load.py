"""Loads config files."""

import importlib.util
import os
import pathlib
import traceback
from collections.abc import Mapping
from typing import Any

from jaxssl.config import catalog, fields
from jaxssl.config.parse import read
from jaxssl.config.schema import Config
from jaxssl.core import tree
from jaxssl.core.errors import UserError, nearest_name


def load_config(file: str, changes: Mapping[str, Any] | None = None) -> Config:
  """Reads a config file such as "configs/nnboot.py:cpu" and changes fields by dotted path: {"train.epochs": 5}.

  Raises UserError for an unknown file, recipe or field, and for a value that is not allowed.
  """
  return read(Config, changed(load(file), changes or {}))


def load(file: str) -> dict[str, Any]:
  """Runs `get_config` of FILE[:RECIPE] and returns the config as nested dicts. Raises UserError."""
  name, _, recipe = file.partition(":")
  path = pathlib.Path(name)
  if not os.path.isfile(path):
    near = [
      *(map(str, sorted(path.parent.glob("*.py"))) if os.path.isdir(path.parent) else ()),
      *map(str, catalog.config_files()),
    ]
    raise UserError(f"--config={name}: no such file; did you mean {nearest_name(name, near)}?")
  spec = importlib.util.spec_from_file_location("jaxssl_config", path) if path.suffix == ".py" else None
  if spec is None or spec.loader is None:
    raise UserError(f"--config={name}: unknown kind of file; expected a Python file such as configs/nnboot.py")
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
      raise UserError("no function get_config in the file")
    return module.get_config(*filter(None, [recipe])).to_dict()
  except UserError as error:
    raise UserError(f"--config={file}: {error}") from error
  except SyntaxError as error:
    raise UserError(f"--config={name}, line {error.lineno}: {error.msg}") from error
  except Exception as error:  # the file's code may raise anything
    lines = [step.lineno for step in traceback.extract_tb(error.__traceback__) if step.filename == spec.origin]
    where = f", line {lines[-1]}" if lines else ""
    raise UserError(f"--config={name}{where}: {type(error).__name__}: {error}") from error


def changed(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a config's nested dicts with changed fields, by dotted path. Raises UserError for an unknown field."""
  for path in changes:
    fields.type_of(path)
  try:
    return tree.updated(config, changes)
  except KeyError as error:
    raise UserError(f"{error.args[0]}: a value, not a group of fields; set {error.args[0]} itself") from None
