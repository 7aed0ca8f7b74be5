"""What config files are made from: all fields at their defaults, view groups, recipes by name, and a version for a CPU."""

import dataclasses
import typing
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import config_dict

from jaxssl.config import Config, ViewConfig, nearest
from jaxssl.types import UserError

RUNLOCAL = "runlocal"
Fields = Any  # a ConfigDict: its fields are attributes that no type checker knows


def defaults() -> Fields:
  """Gives every field at its default, so that a flag may override any of them."""
  return config_dict.ConfigDict(_open(Config()))


def views(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
  """Completes view groups (jaxssl.views.presets) with the fields they leave at their defaults."""
  return {name: _open(ViewConfig(**fields)) for name, fields in groups.items()}


def choose(argument: str, recipes: Mapping[str, Callable[[], Fields]]) -> Fields:
  """Makes the recipe that follows the colon of --config FILE:RECIPE; "" is the file's own. `runlocal` shrinks any of them.

  Raises UserError for a name that the file does not have.
  """
  words = [word for word in argument.split(",") if word]
  names = [word for word in words if word != RUNLOCAL]
  for name in names:
    if name not in recipes:
      allowed = [*filter(None, recipes), RUNLOCAL]
      raise UserError(f"--config FILE:{name} is no recipe; nearest: {nearest(name, allowed)}; allowed: {', '.join(allowed)}")
  if len(names) > 1:
    raise UserError(f"--config FILE:{argument} names {len(names)} recipes; give one, and {RUNLOCAL} after a comma if you like")
  config = recipes[names[0] if names else ""]()
  return runlocal(config) if RUNLOCAL in words else config


def runlocal(config: Fields) -> Fields:
  """Shrinks a recipe to under a minute on a CPU: 256 embedded digits, a tiny network of the same kind, three epochs."""
  config.data.update({"source": "mnist5k", "path": "", "test_path": "", "limit": 256, "store_size": 0})
  for name, group in config.views.items():
    group.size = 14 if name == "local" else 28
    group.count = min(group.count, 2 if name == "local" else group.count)
  model = config.model
  model.update({"width": 1 / 8, "patch": 7, "depth": 2, "stem": "cifar" if "resnet" in model.name else model.stem})
  if "vit" in model.name:
    model.name = "vit_ti"
  for head in (model.projector, model.predictor):
    head.update({"hidden": 64, "out": 64, "bottleneck": 32})
  config.bootstrap.update({"k": min(config.bootstrap.k, 5), "window": 2})
  config.train.update({"batch_size": 32, "epochs": 3, "log_every": 1})
  config.evals.update({"every": 2, "resize": 0, "size": 0})
  _shorten(config)
  return config


def _shorten(config: Fields) -> None:
  """Cuts every warm-up in the config to one epoch."""
  for name, value in config.items():
    if isinstance(value, config_dict.ConfigDict):
      _shorten(value)
    elif name == "warmup_epochs" and value is not None:
      config[name] = min(value, 1)


def _open(value: Any) -> dict[str, Any]:
  """Turns a dataclass into nested dicts; a field that is None becomes a placeholder of its type."""
  hints = typing.get_type_hints(type(value))

  def one(name: str, item: Any) -> Any:
    if dataclasses.is_dataclass(item):
      return _open(item)
    if item is None:
      return config_dict.placeholder(next(a for a in typing.get_args(hints[name]) if a is not type(None)))
    return item

  return {field.name: one(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)}
