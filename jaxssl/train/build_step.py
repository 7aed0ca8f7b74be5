"""Builds the train step of a config, for which the number of images suffices; its schedules; the shapes of its state."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from jaxssl.augment import pipeline
from jaxssl.bootstrap.policy import NeighborBootstrap
from jaxssl.config.schedules import Schedule, ScheduleConfig, TrainingLength
from jaxssl.config.schema import Config
from jaxssl.core import UserError, require
from jaxssl.core.types import PyTree, TrainState
from jaxssl.data import sampler
from jaxssl.evals.preprocessing import first_view
from jaxssl.methods import read_method
from jaxssl.methods.base import SSLMethod, ViewSlice
from jaxssl.models import network
from jaxssl.models.backbone import backbone
from jaxssl.parallel.mesh import compute_precision, state_shardings
from jaxssl.train import lower_to_fit
from jaxssl.train.optimizer import build_optimizer, learning_rate
from jaxssl.train.step import TrainStep


def training_length(config: Config, num_images: int) -> TrainingLength:
  """Returns the length of the run. Raises UserError if not even one batch can be filled."""
  return TrainingLength(steps_per_epoch=sampler.steps(num_images, config.train.batch_size), epochs=config.train.epochs)


def schedules_of(config: Config, length: TrainingLength) -> dict[str, Schedule]:
  """Returns all values that change over a run, by name: learning rate, weight decay, and the method's schedules."""
  optim = config.optim
  return {
    "learning_rate": learning_rate(optim, length, config.train.batch_size),
    "weight_decay": optim.weight_decay.resolve(length, "optim.weight_decay"),
    **resolve_schedules(read_method(config.method), length),
  }


def resolve_schedules(method: SSLMethod, length: TrainingLength) -> dict[str, Schedule]:
  """Resolves the fields of a method that are schedules, by name. Raises UserError for one that does not fit the run."""
  schedules = {name: value for name, value in vars(method).items() if isinstance(value, ScheduleConfig)}
  return {name: schedule.resolve(length, f"method.{name}") for name, schedule in schedules.items()}


def build_train_step(config: Config, mesh: Mesh, num_images: int, encoder: Any = None) -> TrainStep:
  """Builds the train step from a config and a dataset size, on a mesh that may be abstract.

  The step's `config` has lower values where `train.lower_to_fit` allows it. Raises UserError.
  """
  config = lower_to_fit.lowered(config, num_images, mesh.size)
  batch_size, parts = config.train.batch_size, config.train.accumulate
  for field in ("batch_size", "epochs", "log_every", "checkpoint_every_epochs"):
    require(getattr(config.train, field) > 0, f"train.{field}", getattr(config.train, field), "at least 1")
  if batch_size % mesh.size:
    raise UserError(f"train.batch_size={batch_size}: must be a multiple of the number of devices, {mesh.size}")
  rows = batch_size // mesh.size
  require(parts > 0 and rows % parts == 0, "train.accumulate", parts, f"a divisor of {rows}, the images per step and device")
  length, method = training_length(config, num_images), read_method(config.method)
  if method.needs_negatives and batch_size < 2:
    raise UserError(f"train.batch_size={batch_size}: negatives are the other images of a batch; use at least 2")
  _check_views(config, method)
  return TrainStep(
    config=config,
    network=network.build(config.model, compute_precision(mesh, config.train.precision), first_view(config).size, encoder),
    method=method,
    schedules=resolve_schedules(method, length),
    bootstrap=NeighborBootstrap(config=config.bootstrap, mesh=mesh, num_images=num_images),
    optimizer=_optimizer(config, length),
    mesh=mesh,
  )


def of_length(train_step: TrainStep, length: TrainingLength) -> TrainStep:
  """Returns the step with schedules for another length of the run."""
  optimizer, schedules = _optimizer(train_step.config, length), resolve_schedules(train_step.method, length)
  return dataclasses.replace(train_step, optimizer=optimizer, schedules=schedules)


def _optimizer(config: Config, length: TrainingLength) -> optax.GradientTransformationExtraArgs:
  return build_optimizer(config.optim, length, config.train.batch_size, backbone(config.model).frozen)


def abstract_state(train_step: TrainStep) -> TrainState:
  """Returns shapes, dtypes and shardings of the train state."""
  shapes = jax.eval_shape(train_step.init)
  placed = state_shardings(shapes, train_step.mesh, train_step.config.train.fsdp)
  return jax.tree.map(lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes, placed)


def shardings(tree: PyTree) -> PyTree:
  """Returns the sharding of every array or shape."""
  return jax.tree.map(lambda x: x.sharding, tree)


def jit_step(train_step: TrainStep, state: TrainState) -> Any:
  """Returns the jitted step for a state of these shapes, which is donated and returned in the same shardings."""
  return jax.jit(train_step.step, donate_argnums=0, out_shardings=(shardings(state), None))


def _check_views(config: Config, method: SSLMethod) -> None:
  """Raises UserError unless the config makes exactly the views that the networks take."""
  spec, name = method.forward_spec, config.method["name"]
  pipeline.check(config.views, None)
  required = (*spec.student, *spec.teacher)
  groups = sorted({views.group for views in required})
  for group in groups:
    if group not in config.views:
      raise UserError(f"views.{group} is missing: method.name={name} takes {', '.join(groups)}")
  for group, views in config.views.items():
    stops = [v.stop for v in (*required, *spec.optional) if v.group == group]
    if not stops:
      raise UserError(f"views.{group}: method.name={name} does not take such views, but {', '.join(groups)}")
    expected = max(stop or 0 for stop in stops)
    if views.count < expected or (None not in stops and views.count > expected):
      raise UserError(f"views.{group}.count={views.count}: method.name={name} takes {expected} of them")
  if (made := _number(config, (*spec.student, *spec.optional))) < spec.views:
    group = spec.student[0].group
    raise UserError(f"views.{group}.count={made}: method.name={name} compares different views; expected at least {spec.views}")
  if config.bootstrap.policy == "off":
    return
  own = (spec.teacher or spec.student)[0]
  features = config.bootstrap.features
  if features != "first" and _number(config, spec.teacher or spec.student) < 2:
    raise UserError(f"bootstrap.features={features}: method.name={name} has features of one view; expected first")
  partner = {group: pipeline.each(views.partner, views) for group, views in config.views.items()}
  if features != "second" and partner[own.group][own.start]:
    raise UserError(f"views.{own.group}.partner=True for view {own.start}, whose features represent the image: set it to False")
  if not any(any(flags) for flags in partner.values()):
    policy = config.bootstrap.policy
    raise UserError(f"bootstrap.policy={policy}: no view is cut from the partner; set views.GROUP.partner for one view")


def _number(config: Config, slices: Sequence[ViewSlice]) -> int:
  """Returns how many views of the config these are."""
  made = [views for views in slices if views.group in config.views]
  return sum((config.views[views.group].count if views.stop is None else views.stop) - views.start for views in made)
