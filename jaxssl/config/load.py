"""Loads config files."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from jaxssl.config import catalog, fields, plugins
from jaxssl.config.parse import read
from jaxssl.config.schema import Config
from jaxssl.core import tree
from jaxssl.core.errors import UserError, nearest_name


def load_config(file: str, changes: Mapping[str, Any] | None = None) -> Config:
  """Reads a config file such as "configs/nnboot.py:cpu" and changes fields by dotted path: {"train.epochs": 5}.

  Raises UserError for an unknown file, recipe or field, and for a value that is not allowed.
  """
  config = read(Config, changed(load(file), changes or {}))
  for plugin in config.plugins:
    plugins.use(plugin)
  return config


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
  module, registered = plugins.execute(path, "--config")
  try:
    if not hasattr(module, "get_config"):
      raise UserError("no function get_config in the file")
    config = module.get_config(*filter(None, [recipe])).to_dict()
  except UserError as error:
    raise UserError(f"--config={file}: {error}") from error
  except Exception as error:  # the file's code may raise anything
    raise plugins.failure(error, f"--config={file}", str(path.absolute())) from error
  if registered:
    plugins.trust(path)
    config["plugins"] = [*config.get("plugins", ()), str(path.absolute())]
  return config


def changed(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a config's nested dicts with changed fields, by dotted path. Raises UserError for an unknown field."""
  for path in changes:
    fields.type_of(path)
  try:
    return tree.updated(config, changes)
  except KeyError as error:
    raise UserError(f"{error.args[0]}: a value, not a group of fields; set {error.args[0]} itself") from None
