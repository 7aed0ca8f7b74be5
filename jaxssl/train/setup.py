"""Builds everything that a run needs from a config, datasets and a mesh. `plan` builds the same train step from sizes alone."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jaxssl.augment import pipeline
from jaxssl.bootstrap import bank
from jaxssl.bootstrap.policy import NeighborBootstrap
from jaxssl.config.schedules import Schedule, ScheduleConfig, TrainingLength
from jaxssl.config.schema import Config
from jaxssl.core import LOG, UserError, require
from jaxssl.core.rng import jax_key
from jaxssl.core.types import Array, Logs, PyTree, TrainState, Variables
from jaxssl.data import datasets, input_pipeline, resident_size, sampler, statistics
from jaxssl.evals.preprocessing import first_view, image_shape
from jaxssl.methods import read_method
from jaxssl.methods.base import SSLMethod
from jaxssl.models import network
from jaxssl.models.backbone import backbone
from jaxssl.parallel.mesh import compute_precision, global_rows, local_slice, make_mesh, replicate, state_shardings, to_host
from jaxssl.pretrained import init_from
from jaxssl.train import cost, lower_to_fit
from jaxssl.train.optimizer import build_optimizer, learning_rate
from jaxssl.train.step import Batch, TrainStep

ANY_NUMBER = 2**40  # of images: what is wrong with a config for that many is wrong for any number


class Experiment:
  """Everything that a run needs except its train state, of which `state_shapes` holds shapes, dtypes and shardings.

  `config` is the config given, with the fields of `data` that follow from the images if they were left open: `bit_depth`,
  `mean`, `std` and `resident_size`. `lowered_from`: the values given, by dotted path, instead of which `config` has lower ones.
  Raises UserError for a config that cannot run: before the images are opened, or downloaded, unless the mistake depends on
  them, and before anything is trained.
  """

  def __init__(
    self,
    config: Config,
    workdir: pathlib.Path,
    arrays: datasets.Arrays | None = None,
    encoder: Any = None,
    check: Callable[[datasets.Datasets], datasets.Datasets] = lambda opened: opened,
  ):
    """Opens the images and builds the step. `check`: called with the datasets, returns those to use; may raise UserError."""
    self.mesh = make_mesh()
    of_any_images = build_train_step(config, self.mesh, ANY_NUMBER, encoder)
    self.imported = init_from.load(config.model, of_any_images.network, image_shape(config), workdir)
    opened = datasets.open_datasets(config.data, config.train.seed, arrays, workdir, config.evals.holdout)
    config = dataclasses.replace(config, data=opened.config)
    opened = check(opened)
    config, self.lowered_from = lower_to_fit.for_images(config, opened, self.mesh.size)
    train_step = build_train_step(config, self.mesh, len(opened.train), encoder)
    if compute_precision(self.mesh, config.train.precision) != config.train.precision:
      LOG.info("train.precision=%s: networks compute in float32, since a CPU has no fast bfloat16", config.train.precision)
    if (color_only := pipeline.of_colors(config.views)) and config.data.channels != 3:
      names = ", ".join(color_only)
      LOG.info("data.channels=%d: views are made without %s, which need RGB images", config.data.channels, names)
    self.training_length = training_length(config, len(opened.train))
    self.state_shapes = abstract_state(train_step)
    # The rest may take minutes, so errors in the config are raised before it.
    data = statistics.settled(config.data, opened.train.source)
    data = resident_size.settled(data, config.views, opened.sources)
    self.config = config = dataclasses.replace(config, data=data)
    self.train_step = dataclasses.replace(train_step, config=config)
    self.datasets = opened.on_devices(config, self.mesh)
    self.train = self.datasets.train
    placed = shardings(self.state_shapes.neighbor_bank)
    self._start_epoch = jax.jit(self.train_step.start_epoch, donate_argnums=0, out_shardings=placed)
    self._step = jit_step(self.train_step, self.state_shapes)

  def init(self) -> TrainState:
    """Returns the state before the first step, from the seed and `model.init_from`."""
    state = jax.jit(self.train_step.init, out_shardings=shardings(self.state_shapes))()
    teacher = state.teacher and self._imported(state.teacher)
    return dataclasses.replace(state, student=self._imported(state.student), teacher=teacher)

  @property
  def schedules(self) -> dict[str, Schedule]:
    """All values that change over the run, by name."""
    return schedules_of(self.config, self.training_length)

  def start_epoch_at(self, step: int, epoch: int) -> None:
    """Numbers steps so that `epoch` starts after `step` steps, although the epochs before may have been longer or shorter."""
    offset = epoch * self.training_length.steps_per_epoch - step
    if offset == self.training_length.offset:
      return
    self.training_length = length = dataclasses.replace(self.training_length, offset=offset)
    optimizer = _optimizer(self.config, length)
    schedules = resolve_schedules(self.train_step.method, length)
    self.train_step = dataclasses.replace(self.train_step, optimizer=optimizer, schedules=schedules)
    self._step = jit_step(self.train_step, self.state_shapes)

  def shapes_for(self, num_images: int) -> TrainState:
    """Returns `state_shapes` for another number of training images. Raises UserError if a method's state depends on it."""
    if num_images == len(self.train):
      return self.state_shapes
    bootstrap = dataclasses.replace(self.train_step.bootstrap, num_images=num_images)
    shapes = abstract_state(dataclasses.replace(self.train_step, bootstrap=bootstrap))
    if jax.tree.leaves(shapes.method_state) != jax.tree.leaves(self.state_shapes.method_state):
      name = self.config.method["name"]
      raise UserError(
        f"method.name={name}: its state depends on the number of training images, which changed; use another --workdir"
      )
    return shapes

  def carry_over(self, state: TrainState, before: np.ndarray) -> TrainState:
    """Moves the rows of the neighbor bank from a training set to this one. before: int32 [n], see `bank.carry_over`."""
    if state.neighbor_bank is None:
      return state
    shapes = self.state_shapes.neighbor_bank
    before = np.pad(before, (0, len(shapes.partners) - len(before)), constant_values=-1)
    move = jax.jit(bank.carry_over, out_shardings=shardings(shapes))
    return dataclasses.replace(state, neighbor_bank=move(state.neighbor_bank, replicate(self.mesh, before)))

  def untrained(self, seed: int) -> Variables:
    """Returns the student before the first step of a run with that `train.seed`."""
    key = np.asarray(jax.random.key_data(jax_key(seed, "weights")))
    return self._imported(self._init_student(replicate(self.mesh, key)))

  @functools.cached_property
  def _init_student(self) -> Callable[[Array], Variables]:
    """Returns the student from the data of a key, compiled once for all seeds."""
    shape, placed = image_shape(self.config), shardings(self.state_shapes.student)
    init = self.train_step.network.init
    return jax.jit(lambda key: init(jax.random.wrap_key_data(key), shape), out_shardings=placed)

  def _imported(self, variables: Variables) -> Variables:
    if self.imported is None:
      return variables
    # Copied under jit: no two networks may share memory with each other or with NumPy, since a step donates its state.
    filled = init_from.filled(self.imported, to_host(self.mesh, variables))
    return jax.jit(lambda tree: jax.tree.map(jnp.copy, tree), out_shardings=shardings(variables))(filled)

  def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Logs]:
    """Trains on one batch; `state` is donated."""
    return self._step(state, batch, self.train.resident)

  def cost_of_step(self, state: TrainState, batch: Batch) -> cost.Cost:
    """Traces the step, as the first call of `step` would, and counts what it consists of."""
    return cost.of_step(self._step.trace(state, batch, self.train.resident), self.mesh.size)

  def compile_step(self, batch: Batch) -> jax.stages.Compiled:
    """Compiles the step for such a batch. The result takes a state, a batch and the resident images."""
    return self._step.lower(self.state_shapes, batch, self.train.resident).compile()

  def start_epoch(self, state: TrainState, epoch: int) -> TrainState:
    """Draws the partners of an epoch; the neighbor bank is donated."""
    if state.neighbor_bank is None:
      return state
    bank = self._start_epoch(state.neighbor_bank, replicate(self.mesh, np.int32(epoch)))
    return dataclasses.replace(state, neighbor_bank=bank)

  def batches(self, state: TrainState, epoch: int, first: int) -> Iterator[Batch]:
    """Yields the batches of an epoch on the devices, from its step `first` on."""
    config, source, labels = self.config, self.train.source, self.train.source.labels
    seed, size = config.train.seed, config.train.batch_size
    own = local_slice(self.mesh, size)

    def batch(index: np.ndarray, crops: input_pipeline.Views | None) -> Batch:
      label = np.full(len(index), -1, np.int32) if labels is None else labels[index]
      return Batch(**global_rows(self.mesh, {"index": index, "label": label, "crops": crops}))

    if self.train.resident is not None:  # the step itself looks up partners
      index, _ = sampler.epoch_plan(seed, epoch, len(source), size)
      yield from (batch(rows, None) for rows in index[first:, own])
      return
    bank = state.neighbor_bank
    partners = None if bank is None else to_host(self.mesh, bank.partners)[: len(source)]
    index, partner = (plan[:, own] for plan in sampler.epoch_plan(seed, epoch, len(source), size, partners))
    with input_pipeline.training(source, index, partner, config.views, seed, epoch, first, config.data.workers) as views:
      yield from (batch(rows, crops) for rows, _, crops in views)


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
  if config.bootstrap.policy == "off":
    return
  own = (spec.teacher or spec.student)[0]
  partner = {group: pipeline.each(views.partner, views) for group, views in config.views.items()}
  if config.bootstrap.features != "second" and partner[own.group][own.start]:
    raise UserError(f"views.{own.group}.partner=True for view {own.start}, whose features represent the image: set it to False")
  if not any(any(flags) for flags in partner.values()):
    policy = config.bootstrap.policy
    raise UserError(f"bootstrap.policy={policy}: no view is cut from the partner; set views.GROUP.partner for one view")
