"""Resolves a recipe to the fields that the files in tests/golden/recipes compare with the arguments of released code."""

import dataclasses
import pathlib
import types
from typing import Any

from jaxssl import methods
from jaxssl.augment import pipeline
from jaxssl.config.eval_schema import FinetuneConfig, LinearProtocol
from jaxssl.config.schedules import ScheduleConfig
from jaxssl.config.schema import Config, HeadConfig, ViewConfig
from jaxssl.evals import crops
from jaxssl.evals.evaluator import network_of
from jaxssl.evals.linear_presets import PRESETS

HEADS = {"vit_s": 6}  # what model.heads=0 stands for
FEATURES = {"resnet18": 512, "resnet50": 2048, "vit_s": 384}  # what a head's width of 0 stands for
HEAD = {"mlp": ("hidden", "out", "layers", "bn", "last_bn", "bias")}
HEAD["dino"] = ("hidden", "bottleneck", "out", "layers", "bn", "fixed_norm")
# What the code does whatever the config says; a new field takes the place of its entry.
FIXED_EVALS = {"evals.knn.ties": "smaller class"}
FIXED_LINEAR = {"epoch": "last"}
FIXED_FINETUNE = {"optimizer": "sgd", "momentum": 0.9, **FIXED_LINEAR}


def resolved(config: Config) -> dict[str, Any]:
  """Returns the fields that decide what a recipe learns and how it is evaluated, by name."""
  parts = (_data(config), _views(config), _model(config), _heads(config), _method(config), _bootstrap(config))
  return {name: value for part in (*parts, _optim(config), _evals(config)) for name, value in part.items()}


def _data(config: Config) -> dict[str, Any]:
  train = {"batch_size": config.train.batch_size, "epochs": config.train.epochs}
  precision = {"float32": "float32", "bfloat16": "mixed"}[config.train.precision]  # float16 is "mixed" as well
  return {"data.mean": config.data.mean, "data.std": config.data.std, **_named("train", train), "train.precision": precision}


def _views(config: Config) -> dict[str, Any]:
  """Names a group's views views.GROUP if their operations are the same, else views.GROUP[0], ..."""
  fields = {}
  for group, view in config.views.items():
    lists = [_operations(group, view, v) for v in range(view.count)]
    same = all(operations == lists[0] for operations in lists)
    shared = ("size", "crop_scale", "crop_ratio", "interpolation")
    fields |= _named(f"views.{group}", {"count": view.count, **{name: getattr(view, name) for name in shared}})
    for v, operations in enumerate(lists[:1] if same else lists):
      fields |= _named(f"views.{group}" if same else f"views.{group}[{v}]", operations)
  return fields


def _operations(group: str, view: ViewConfig, v: int) -> dict[str, Any]:
  """Returns probability and parameters of each operation, and their order but for the flip, which commutes with the others."""
  steps = {}
  for operation, p in pipeline.augmentations(group, view, v):
    parameters = {name: value for name, value in dataclasses.asdict(operation).items() if name not in ("p", "max_value")}
    steps[type(operation).__name__] = [p, *parameters.values()]
  return {**steps, "order": [name for name in steps if name != "Flip"]}


def _model(config: Config) -> dict[str, Any]:
  model, fields = config.model, {"model.name": config.model.name}
  heads = [head for head in (model.projector, model.predictor) if head.name != "none"]
  if model.name.startswith("resnet") or any(head.bn for head in heads):
    fields["model.bn_groups"] = model.bn_groups
  if model.name.startswith("vit"):
    vit = {name: getattr(model, name) for name in ("patch", "drop_path", "position_offset")}
    vit["heads"] = model.heads or HEADS[model.name]
    vit["positions"] = {"learned": "learned", "sincos": "fixed sine-cosine"}[model.positions]
    vit["initialization"] = {"normal": "normal 0.02", "xavier": "Xavier uniform, class token 1e-6"}[model.init]
    return {**fields, **_named("model", vit)}
  return {**fields, "model.stem": model.stem, "model.zero_init_residual": model.zero_init_residual}


def _heads(config: Config) -> dict[str, Any]:
  fields: dict[str, Any] = {"projector": config.model.projector.name, "predictor": config.model.predictor.name}
  width = FEATURES[config.model.name]
  for part in ("projector", "predictor"):
    head: HeadConfig = getattr(config.model, part)
    if head.name != "none":
      sizes = {name: getattr(head, name) or width for name in ("hidden", "out")}
      fields |= _named(part, {name: sizes.get(name, getattr(head, name)) for name in HEAD[head.name]})
  return fields


def _method(config: Config) -> dict[str, Any]:
  method = methods.read_method(config.method)
  fields = {field.name: _plain(getattr(method, field.name)) for field in dataclasses.fields(method)}
  spec = method.forward_spec
  passes = {"joint": spec.joint, "ema_before_forward": spec.ema_before_forward}
  passes |= {"shuffled": True} if spec.shuffle_teacher else {}
  return {"method.name": config.method["name"], **_named("method", fields), **_named("forward", passes)}


def _bootstrap(config: Config) -> dict[str, Any]:
  names = ("policy", "k", "window", "temperature", "features", "as_released")
  if config.bootstrap.policy == "off":
    return {}
  partner = {f"views.{group}.partner": view.partner for group, view in config.views.items()}
  return {**_named("bootstrap", {name: getattr(config.bootstrap, name) for name in names}), **partner}


def _optim(config: Config) -> dict[str, Any]:
  optim, batch_size = config.optim, config.train.batch_size
  names = ["name", "lr_base_batch_size", "decay_mask", *(["momentum"] if optim.name != "adamw" else [])]
  names += ["clip", "clip_by"] if optim.clip else []
  names += [name for name in ("freeze_last_layer_epochs", "freeze_encoder_epochs", "freeze") if getattr(optim, name)]
  peak = optim.lr * (batch_size / optim.lr_base_batch_size if optim.lr_base_batch_size else 1)
  schedules = {"schedule": _plain(optim.schedule), "weight_decay": _plain(optim.weight_decay), "peak_lr": peak}
  return _named("optim", {**{name: getattr(optim, name) for name in names}, **schedules})


def _evals(config: Config) -> dict[str, Any]:
  evals, size = config.evals, next(iter(config.views.values())).size
  knn = {name: getattr(evals.knn, name) for name in ("k", "unweighted_k", "euclidean")}
  knn |= {"temperature": evals.knn.temperature} if knn["k"] else {}
  shown = {"network": network_of(config), "resize": evals.resize, "size": evals.size or size}
  shown["interpolation"] = evals.interpolation
  normalization = {"mean": config.data.mean, "std": config.data.std}
  tuned = {**_lowshot(config), **_named("evals.finetune", _training(config, evals.finetune) | FIXED_FINETUNE)}
  parts = (_named("evals", {**shown, **normalization}), _named("evals.knn", knn), _linear(config), FIXED_EVALS)
  return {name: value for part in (*parts, tuned if evals.lowshot.lists else {}) for name, value in part.items()}


def _linear(config: Config) -> dict[str, Any]:
  (solver,) = config.evals.linear.solvers
  protocol = PRESETS.get(solver)
  if protocol is None:
    return {"evals.linear.solver": solver}
  fields = _training(config, protocol)
  fields["lr"] = fields["lr"][0] if len(protocol.lr) == 1 else fields["lr"]
  names = ["momentum"] if protocol.optimizer == "adam" else []
  return _named("evals.linear", {name: value for name, value in (fields | FIXED_LINEAR).items() if name not in names})


def _training(config: Config, protocol: LinearProtocol | FinetuneConfig) -> dict[str, Any]:
  """Returns the fields of a training on labels that have an effect; those of the crops as one."""
  fields = {field.name: _plain(getattr(protocol, field.name)) for field in dataclasses.fields(protocol)}
  del fields["crop_scale"]
  if protocol.crops == "random":
    extractor: Any = types.SimpleNamespace(preprocessing=types.SimpleNamespace(size=224))
    view = crops.view_for(extractor, protocol.crops, protocol.crop_scale)
    fields["crops"] = {name: getattr(view, name) for name in ("crop_scale", "crop_ratio", "interpolation", "flip")}
  return {**fields, "test_interpolation": config.evals.interpolation}


def _lowshot(config: Config) -> dict[str, Any]:
  lowshot = config.evals.lowshot
  return _named("evals.lowshot", {"lists": [pathlib.Path(path).name for path in lowshot.lists], "finetune": lowshot.finetune})


def _plain(value: Any) -> Any:
  """Returns a schedule as a number if it is constant, else as its fields that have an effect."""
  if not isinstance(value, ScheduleConfig):
    return value
  shape = {"constant": (), "cosine": ("final",), "exponential": ("final",), "step": ("milestones", "rate")}[value.kind]
  warmup = ("warmup_epochs", "start") if value.warmup_epochs else ()
  if value.warmup_steps or value.warmup_percent:
    raise NotImplementedError("a warm-up in steps or percent")
  if not shape and not warmup:
    return value.base
  return {name: getattr(value, name) for name in ("kind", "base", *shape, *warmup, "by_epoch")}


def _named(prefix: str, fields: dict[str, Any]) -> dict[str, Any]:
  return {f"{prefix}.{name}": value for name, value in fields.items()}
