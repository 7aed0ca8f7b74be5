"""Lowers values that are too large for the images or the epochs of a run, if the config allows it (`train.lower_to_fit`)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxssl.config.schedules import ScheduleConfig
from jaxssl.config.schema import Config
from jaxssl.core import LOG, tree
from jaxssl.data.datasets import Datasets
from jaxssl.methods import read_method

LONGEST = 0.5  # share of a run that a warm-up may take
SHORTER = 0.1  # share of the run that a longer one is lowered to
KNN = ("k", "unweighted_k", "euclidean")  # the lists of numbers of neighbors in evals.knn


def lowered(config: Config, num_images: int, devices: int) -> Config:
  """Returns the config with a batch and `bootstrap.k` for so many training images, and warm-ups that fit `train.epochs`.

  The batch is halved until the images fill it, which keeps it a divisor of a queue, as long as it remains a multiple of
  devices x `train.accumulate`. A warm-up of more than LONGEST of the run becomes SHORTER of it.
  """
  if not config.train.lower_to_fit:
    return config
  train = config.train
  changes: dict[str, Any] = {"train.batch_size": _fitting(train.batch_size, num_images, devices * train.accumulate)}
  if config.bootstrap.policy != "off":
    changes["bootstrap.k"] = min(config.bootstrap.k, num_images)
  for name, warmup in _warmups(config).items():
    changes[name] = SHORTER * train.epochs if warmup > LONGEST * train.epochs > 0 else warmup
  return replace(config, changes)


def _fitting(batch_size: int, num_images: int, unit: int) -> int:
  """Halves a batch until it has at most so many images; returns it as it is if it then is not a multiple of `unit`."""
  fitting = batch_size
  while fitting > num_images and fitting > 1:
    if fitting % 2:
      return batch_size
    fitting //= 2
  return fitting if unit > 0 and fitting % unit == 0 else batch_size


def lowered_knn(config: Config, num_images: int) -> Config:
  """Returns the config with numbers of neighbors in `evals.knn` that so many images to compare with can supply."""
  if not config.train.lower_to_fit or num_images < 1:
    return config
  ks = {name: tuple(dict.fromkeys(min(k, num_images) for k in getattr(config.evals.knn, name))) for name in KNN}
  return replace(config, {f"evals.knn.{name}": k for name, k in ks.items()})


def for_images(config: Config, datasets: Datasets, devices: int) -> tuple[Config, dict[str, Any]]:
  """Returns the config with values for these images, and those that it had instead, by dotted path; logs them."""
  train, compared = len(datasets.train), len(datasets.reference.labeled()) - (datasets.test is None)
  used = lowered(config, train, devices)
  if datasets.reference.source.labels is not None:
    used = lowered_knn(used, compared)
  before, values = originals(config, used), _values(used)
  for name, value in before.items():
    if name.endswith("warmup_epochs"):
      reason = f"train.epochs={used.train.epochs}"
    elif name.startswith("evals.knn"):
      reason = f"k-NN compares with {compared} images"
    else:
      reason = f"the training set has {train} images"
    LOG.info("%s=%s lowered to %s: %s (train.lower_to_fit)", name, value, values[name], reason)
  return used, before


def originals(config: Config, used: Config) -> dict[str, Any]:
  """Returns the values of `config` that are lower in `used`, by dotted path."""
  before, after = _values(config), _values(used)
  return {name: value for name, value in before.items() if after[name] != value}


def as_lowered(config: Config, before: Config, lowered_from: Mapping[str, Any]) -> Config:
  """Returns the config with the values that a run before lowered: those that are the same as then, before they were lowered."""
  if not config.train.lower_to_fit:
    return config
  given, stored = _values(config), _values(before)
  same = [name for name, value in lowered_from.items() if name in stored and name in given and _plain(given[name]) == value]
  return replace(config, {name: stored[name] for name in same})


def replace(config: Config, changes: Mapping[str, Any]) -> Config:
  """Returns the config with other values by dotted path, also of schedules of the method."""
  other, method = {}, dict(config.method)
  schedules = _schedules(config)
  for name, value in changes.items():
    group, _, rest = name.partition(".")
    if group != "method":
      other[name] = value
    elif value != (schedule := schedules[name.rpartition(".")[0]]).warmup_epochs:
      method[rest.partition(".")[0]] = dataclasses.asdict(dataclasses.replace(schedule, warmup_epochs=value))
  return dataclasses.replace(tree.replace(config, other), method=method)


def _values(config: Config) -> dict[str, Any]:
  """Returns the values that may be lowered, by dotted path."""
  knn = {f"evals.knn.{name}": getattr(config.evals.knn, name) for name in KNN}
  return {"train.batch_size": config.train.batch_size, "bootstrap.k": config.bootstrap.k, **_warmups(config), **knn}


def _warmups(config: Config) -> dict[str, float]:
  schedules = _schedules(config)
  return {f"{name}.warmup_epochs": s.warmup_epochs for name, s in schedules.items() if s.warmup_epochs is not None}


def _schedules(config: Config) -> dict[str, ScheduleConfig]:
  """Returns all schedules of a config by dotted path."""
  optim = {"optim.schedule": config.optim.schedule, "optim.weight_decay": config.optim.weight_decay}
  method = {f"method.{name}": value for name, value in vars(read_method(config.method)).items()}
  return optim | {name: value for name, value in method.items() if isinstance(value, ScheduleConfig)}


def _plain(value: Any) -> Any:
  """Returns a value as JSON stores it."""
  return list(value) if isinstance(value, tuple) else value
