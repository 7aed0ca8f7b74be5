"""Building blocks of config files: defaults, view groups, recipes by name, and smaller versions of recipes."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import config_dict

from jaxssl.config.schema import Config, ViewConfig
from jaxssl.core import UserError, unknown_name

Fields = Any  # a ConfigDict, whose attributes type checkers cannot check
NORMALIZATION = {
  "cifar10": {"mean": (0.4914, 0.4822, 0.4465), "std": (0.247, 0.2435, 0.2616)},
  "cifar100": {"mean": (0.5071, 0.4865, 0.4409), "std": (0.2673, 0.2564, 0.2762)},
}


def defaults() -> Fields:
  """Returns a config with all fields at their defaults."""
  return config_dict.ConfigDict(dataclasses.asdict(Config()))


def cifar(name: str = "cifar10") -> Fields:
  """Returns the start of a CIFAR recipe: 32 pixels, the ResNet-18 with the CIFAR stem, 200 epochs at batch 256."""
  config = defaults()
  config.data.update({"source": "tfds", "path": name, **NORMALIZATION[name]})
  config.model.update({"name": "resnet18", "stem": "cifar"})
  config.train.update({"batch_size": 256, "epochs": 200, "precision": "bfloat16", "log_every": 50})
  config.evals.update({"every": 10, "batch_size": 1000})
  return config


def imagenet(name: str) -> Fields:
  """Returns the start of an ImageNet recipe: a folder with train/ and val/, 224 pixels, 200 epochs at batch 256."""
  config = defaults()
  config.data.update({"source": "folder", "placement": "host"})
  config.model.name = name
  config.train.update({"batch_size": 256, "epochs": 200, "precision": "bfloat16", "log_every": 50})
  config.evals.update({"every": 10, "batch_size": 1024, "resize": 256, "size": 224})
  return config


def mlp(head: Fields, hidden: int, out: int, layers: int = 2, last_bn: str = "none", bias: bool = True) -> None:
  """Sets a head to an MLP of `layers` linear layers with BatchNorm and ReLU between them; `bias`: of the hidden layers."""
  head.update({"name": "mlp", "hidden": hidden, "out": out, "layers": layers, "last_bn": last_bn, "bias": bias})


def sgd(
  config: Fields, lr: float, weight_decay: float, warmup_epochs: int = 10, floor: float = 0.0, lr_base_batch_size: int = 256
) -> None:
  """Sets SGD with momentum 0.9, weight decay on all parameters, and a cosine schedule that falls to `floor` of its peak."""
  config.optim.update({"name": "sgd", "lr": lr, "lr_base_batch_size": lr_base_batch_size, "decay_mask": "all"})
  config.optim.schedule.update({"kind": "cosine", "milestones": (), "warmup_epochs": warmup_epochs, "final": floor})
  config.optim.weight_decay.base = weight_decay


def bootstrapped(config: Fields) -> Fields:
  """Adds AdaSim's adaptive bootstrapping, with the fields of configs/nnboot.py:cifar10, to a recipe."""
  config.bootstrap.update({"policy": "adaptive", "k": 10, "window": 20, "temperature": 0.001})
  return config


def views(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
  """Completes view groups, e.g. of jaxssl.augment.presets, with default fields."""
  return {name: dataclasses.asdict(ViewConfig(**fields)) for name, fields in groups.items()}


def choose(argument: str, recipes: Mapping[str, Callable[[], Fields]]) -> Fields:
  """Builds the recipe of `--config FILE:RECIPE` ("": the default), shrunk by the names of `SMALLER` in it. Raises UserError."""
  words = list(filter(None, argument.split(",")))
  names = [word for word in words if word not in SMALLER] or [""]
  for name in names:
    if name not in recipes:
      raise unknown_name(f"recipe {name}: unknown", name, [*filter(None, recipes), *SMALLER])
  if len(names) > 1:
    raise UserError(f"{len(names)} recipes; expected one, and {' or '.join(SMALLER)} after a comma")
  config = recipes[names[0]]()
  for smaller in filter(SMALLER.get, words):
    SMALLER[smaller](config)
  return config


def by_name(recipes: Mapping[str, Callable[[], Fields]]) -> Callable[..., Fields]:
  """Returns the `get_config` of a config file that holds these recipes; "" is the default."""
  return lambda recipe="": choose(recipe, recipes)


def runlocal(config: Fields) -> None:
  """Shrinks a recipe to under a minute on a CPU: 256 digits, a tiny network of the same kind, three epochs.

  Other images may be set on top of it, such as a folder: 256 of them, or all of fewer (`train.lower_to_fit`).
  """
  config.data.update({"source": "mnist5k", "path": "", "test_path": "", "list_path": "", "limit": 256, "resident_size": 0})
  if config.data.channels not in (1, 3):
    config.data.update({"channels": 1, "mean": (), "std": ()})
  for name, group in config.views.items():
    group.size = 14 if name == "local" else 28
    group.count = min(group.count, 2 if name == "local" else group.count)
  model = config.model
  model.update({"width": 1 / 8, "patch": 7, "depth": 2, "stem": "cifar"})
  for family, smallest in (("resnet", "resnet10"), ("vit", "vit_ti")):  # other backbones are small by width and depth
    model.name = smallest if model.name.startswith(family) else model.name
  for head in (model.projector, model.predictor):
    head.update({"hidden": min(head.hidden, 64), "out": min(head.out, 64), "bottleneck": 32})
  config.bootstrap.update({"k": min(config.bootstrap.k, 5), "window": 2})
  config.train.update({"batch_size": 32, "epochs": 3, "log_every": 1, "lower_to_fit": True})
  config.evals.update({"every": 2, "resize": 0, "size": 0, "holdout": 0.0})  # the digits have a test set
  _quick_evals(config)
  _shorten(config, 1, 64)


def cpu(config: Fields) -> None:
  """Shrinks a recipe to minutes on two CPU cores; the budget is the same for every method, so that results are comparable.

  10,000 images, 15 epochs at batch 128, views of at most 32 pixels, a ResNet-10 (or the recipe's ConvNeXt) of a quarter of the
  width, heads of 512. With fewer images, all of them, in smaller batches if need be (`train.lower_to_fit`).
  """
  config.data.limit = 10_000
  config.model.update({"width": 0.25, "stem": "small", "depth": 0})
  if config.model.name.startswith(("resnet", "vit")):
    config.model.update({"name": "resnet10", "heads": 0, "positions": "learned", "init": "normal"})
  for head in (config.model.projector, config.model.predictor):
    head.update({"hidden": min(head.hidden, 512), "out": min(head.out, 1024), "bottleneck": 64})
  config.optim.freeze = ()  # its names belong to the replaced network
  config.bootstrap.update({"window": 3, "temperature": 0.05})
  config.train.update({"batch_size": 128, "epochs": 15, "precision": "float32", "lower_to_fit": True})
  config.health.patience = 50
  config.evals.update({"every": 5, "batch_size": 1000})
  _quick_evals(config)
  _shrink_views(config, 32)
  _shorten(config, 2, 4096)


def _shrink_views(config: Fields, side: int) -> None:
  """Limits the largest view, and the other views in proportion; images are then resident at 5/4 of that side."""
  largest = max(group.size for group in config.views.values())
  if largest <= side:
    return
  for group in config.views.values():
    group.size = max(group.size * side // largest, side // 4)
    group.blur_p = (0.0,)  # as in the recipes for small images
  config.data.update({"placement": "device", "resident_size": side * 5 // 4})
  config.evals.update({"resize": 0, "size": 0})


def _quick_evals(config: Fields) -> None:
  """Replaces the protocols of a publication, which may take longer than the training, by the defaults, which are comparable."""
  usual = defaults().evals
  config.evals.update({name: usual[name] for name in ("interpolation", "linear", "lowshot", "finetune")})


SMALLER: dict[str, Callable[[Fields], None]] = {"runlocal": runlocal, "cpu": cpu}


def _shorten(config: Fields, warmup_epochs: int, queue: int) -> None:
  """Limits every warm-up and every queue of a config."""
  for name, value in config.items():
    if isinstance(value, config_dict.ConfigDict):
      _shorten(value, warmup_epochs, queue)
    elif name == "warmup_epochs" and value is not None:
      config[name] = min(value, warmup_epochs)
    elif name == "queue" and value is not None:
      config[name] = min(value, queue)
