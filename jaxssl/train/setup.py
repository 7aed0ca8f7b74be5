"""Builds everything that a run needs from a config, datasets and a mesh."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxssl.augment import pipeline
from jaxssl.bootstrap import bank
from jaxssl.bootstrap.partners import partners_of
from jaxssl.config.schedules import Schedule
from jaxssl.config.schema import Config
from jaxssl.core import LOG, UserError
from jaxssl.core.rng import jax_key
from jaxssl.core.types import Array, Logs, TrainState, Variables
from jaxssl.data import datasets, input_pipeline, resident_size, sampler, statistics
from jaxssl.evals.preprocessing import image_shape
from jaxssl.parallel.mesh import compute_precision, global_rows, local_slice, make_mesh, replicate, to_host
from jaxssl.pretrained import init_from
from jaxssl.train import cost, lower_to_fit
from jaxssl.train.build_step import (
  abstract_state,
  build_train_step,
  jit_step,
  of_length,
  schedules_of,
  shardings,
  training_length,
)
from jaxssl.train.step import Batch

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
    _ = of_any_images.dims  # raises for networks that do not take these views
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
    self.train_step = of_length(self.train_step, length)
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
      index, _ = sampler.epoch_plan(seed, epoch, len(source), size, own=own)
      yield from (batch(rows, None) for rows in index[first:])
      return
    bank = state.neighbor_bank
    of_bank = None if bank is None else functools.partial(partners_of, self.mesh, bank.partners)
    index, partner = sampler.epoch_plan(seed, epoch, len(source), size, of_bank, own)
    reading = {"workers": config.data.workers, "pool": self.train.pool}
    with input_pipeline.training(source, index, partner, config.views, seed, epoch, first, **reading) as views:
      yield from (batch(rows, crops) for rows, _, crops in views)
