"""The parts of one run put together: images, network, method, optimizer, and the compiled functions that train."""

import dataclasses
import functools
import logging
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxssl import methods
from jaxssl.augment import pipeline
from jaxssl.bootstrap.policy import NeighborBootstrap
from jaxssl.config.schedules import TrainingLength
from jaxssl.config.schema import Config
from jaxssl.core.errors import UserError
from jaxssl.core.types import Array, Logs, TrainState, Variables
from jaxssl.data import datasets, input_pipeline, sampler, statistics
from jaxssl.methods.base import Dims, Method
from jaxssl.models import network
from jaxssl.parallel.mesh import compute_precision, global_rows, local_slice, make_mesh, replicate, state_shardings, to_host
from jaxssl.pretrained import init_from
from jaxssl.train.optimizer import build_optimizer
from jaxssl.train.step import Batch, TrainStep

LOG = logging.getLogger("jaxssl")


class Experiment:
  """All of a run but its state. Raises UserError for a config that cannot run, before anything is trained.

  `config` of the run is the one given, with `data.mean` and `data.std` measured where they are empty.
  """

  def __init__(self, config: Config, workdir: pathlib.Path, arrays: datasets.Arrays | None = None, encoder: Any = None):
    self.mesh, self.channels = make_mesh(), config.data.channels
    opened = datasets.open_datasets(config.data, config.train.seed, arrays, workdir)
    num_images = len(opened.train)
    train_step = assemble(config, self.mesh, num_images, encoder)
    if compute_precision(self.mesh, config.train.precision) != config.train.precision:
      LOG.info("train.precision=%s: networks compute in float32, since a CPU has no fast bfloat16", config.train.precision)
    self.training_length = training_length(config, num_images)
    size = config.views[train_step.method.forward_spec.student[0].group].size
    self.imported = init_from.load(config.model, train_step.network, (size, size, self.channels), workdir)
    # from here on it may take minutes, and a mistake must have shown before
    self.config = config = dataclasses.replace(config, data=statistics.settled(config.data, opened.train.source))
    self.train_step = dataclasses.replace(train_step, config=config)
    self.datasets = opened.on_devices(config, self.mesh)
    self.train = self.datasets.train

  @functools.cached_property
  def dims(self) -> Dims:
    """The sizes of the run."""
    return self.train_step.dims(self.channels)

  @functools.cached_property
  def state_shapes(self) -> TrainState:
    """Shapes, types and shardings of the state."""
    return state_of(self.train_step, self.channels)

  @functools.cached_property
  def _shardings(self) -> TrainState:
    return jax.tree.map(lambda x: x.sharding, self.state_shapes)

  def init(self) -> TrainState:
    """Makes the state before the first step: from the seed, and the encoders from `model.init_from`."""
    state = jax.jit(lambda: self.train_step.init(self.channels), out_shardings=self._shardings)()
    teacher = state.teacher and self._imported(state.teacher, self._shardings.teacher)
    return dataclasses.replace(state, student=self._imported(state.student, self._shardings.student), teacher=teacher)

  def untrained(self) -> Variables:
    """Makes the student network before the first step."""
    student = jax.jit(lambda: self.train_step.init(self.channels).student, out_shardings=self._shardings.student)()
    return self._imported(student, self._shardings.student)

  def _imported(self, variables: Variables, shardings: Any) -> Variables:
    if self.imported is None:
      return variables
    # Copied under jit: two networks must not share memory with each other or with numpy, for a step uses up what it is given.
    made = init_from.put(to_host(self.mesh, variables), self.imported)
    return jax.jit(lambda tree: jax.tree.map(jnp.copy, tree), out_shardings=shardings)(made)

  @functools.cached_property
  def _step(self):  # noqa: ANN202
    return step_of(self.train_step, self.state_shapes)

  def step(self, state: TrainState, rows: Batch) -> tuple[TrainState, Logs]:
    """Trains on one batch; the state given is used up."""
    return self._step(state, rows, self.train.resident)

  def compiled(self, rows: Batch) -> jax.stages.Compiled:
    """Compiles a step for batches like this, to be looked at; it takes a state, such a batch, and the stored images."""
    return self._step.lower(self.state_shapes, rows, self.train.resident).compile()

  @functools.cached_property
  def _open_epoch(self):  # noqa: ANN202
    def draw(state: TrainState, epoch: Array) -> TrainState:
      key = jax.random.key(self.config.train.seed + 2)
      return dataclasses.replace(state, neighbors=self.train_step.bootstrap.partners(state.neighbors, key, epoch))

    return jax.jit(draw, donate_argnums=0, out_shardings=self._shardings)

  def open_epoch(self, state: TrainState, epoch: int) -> TrainState:
    """Draws the partners of an epoch at its start; the state given is used up."""
    if state.neighbors is None:
      return state
    return self._open_epoch(state, replicate(self.mesh, np.int32(epoch)))

  def rows(self, state: TrainState, epoch: int, first: int) -> Iterator[Batch]:
    """Gives an epoch's batches from its step `first` on, on the devices."""
    config, source = self.config, self.train.source
    partners = None
    if state.neighbors is not None:
      partners = to_host(self.mesh, state.neighbors.partners)[: len(source)]
    index, partner = sampler.epoch_plan(config.train.seed, epoch, len(source), config.train.batch_size, partners)
    own = local_slice(self.mesh, config.train.batch_size)
    index, partner = index[:, own], partner[:, own]
    labels = source.labels

    def batch(index: np.ndarray, partner: np.ndarray, crops: Any) -> Batch:
      label = np.full(len(index), -1, np.int32) if labels is None else labels[index]
      rows: Any = {"index": index, "partner": partner, "label": label, "crops": crops}
      return Batch(**global_rows(self.mesh, rows))

    if self.train.resident is not None:
      yield from (batch(i, p, None) for i, p in zip(index[first:], partner[first:], strict=True))
      return
    with input_pipeline.training(
      source, index, partner, config.views, config.train.seed, epoch, first, config.data.workers
    ) as batches:
      yield from (batch(*arrays) for arrays in batches)


LOG = logging.getLogger("jaxssl")


def training_length(config: Config, num_images: int) -> TrainingLength:
  """How long the run is. Raises UserError where not even one batch can be filled."""
  return TrainingLength(steps_per_epoch=sampler.steps(num_images, config.train.batch_size), epochs=config.train.epochs)


def assemble(config: Config, mesh: Mesh, num_images: int, encoder: Any = None) -> TrainStep:
  """Makes the parts of a run on a mesh, whose devices need not be there. Raises UserError for what does not fit together."""
  length, batch_size, parts = training_length(config, num_images), config.train.batch_size, config.train.accumulate
  if batch_size % mesh.size:
    raise UserError(f"train.batch_size={batch_size} is not allowed; it is a multiple of the number of devices, {mesh.size}")
  if parts < 1 or batch_size % (parts * mesh.size):
    raise UserError(
      f"train.accumulate={parts} is not allowed; "
      f"train.batch_size={batch_size} is a multiple of it times the number of devices, {mesh.size}"
    )
  method = methods.build(config.method, length)
  _check_views(config, method)
  size = config.views[method.forward_spec.student[0].group].size
  return TrainStep(
    config=config,
    network=network.build(config.model, compute_precision(mesh, config.train.precision), size, encoder),
    method=method,
    bootstrap=NeighborBootstrap(config=config.bootstrap, mesh=mesh, num_images=num_images),
    optimizer=build_optimizer(config.optim, length, batch_size),
    mesh=mesh,
  )


def state_of(train_step: TrainStep, channels: int) -> TrainState:
  """Shapes, types and shardings of the state."""
  shapes = jax.eval_shape(lambda: train_step.init(channels))
  shardings = state_shardings(shapes, train_step.mesh, train_step.config.train.fsdp)
  return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, shardings)


def step_of(train_step: TrainStep, state: TrainState) -> Any:
  """The step under jit: the state, of these shapes, is given away, and comes back in the same shardings."""
  shardings = jax.tree.map(lambda x: x.sharding, state)
  return jax.jit(train_step.step, donate_argnums=0, out_shardings=(shardings, None))


def _check_views(config: Config, method: Method) -> None:
  """Raises UserError unless the config makes the views that the method's networks see, and no other; logs what they lack.

  With bootstrapping, the image's own view must be the one that is remembered, and another one the partner's.
  """
  forward_spec, name = method.forward_spec, config.method["name"]
  pipeline.check(config.views, None)
  left_out = pipeline.of_colors(config.views)
  if left_out and config.data.channels != 3:
    why = "they are about red, green and blue; all other changes stay"
    LOG.info("data.channels=%d: the views are made without %s, since %s", config.data.channels, ", ".join(left_out), why)
  seen = (*forward_spec.student, *forward_spec.teacher)
  for views in seen:
    if views.group not in config.views:
      wanted = ", ".join(sorted({v.group for v in seen}))
      raise UserError(f"views.{views.group} is missing; method.name={name} sees {wanted}")
  for group, views in config.views.items():
    stops = [v.stop for v in (*seen, *forward_spec.optional) if v.group == group]
    if not stops:
      raise UserError(f"views.{group} is given, but method.name={name} takes no such views")
    most = max(stop or 0 for stop in stops)
    if views.count < most or (None not in stops and views.count > most):
      raise UserError(f"views.{group}.count={views.count} is not allowed; method.name={name} sees {most} of them")
  if config.bootstrap.policy == "off":
    return
  own = (forward_spec.teacher or forward_spec.student)[0]
  partner = {group: pipeline.each(views.partner, views) for group, views in config.views.items()}
  if config.bootstrap.features != "second" and partner[own.group][own.start]:
    raise UserError(f"views.{own.group}.partner=True for view {own.start}, whose features stand for the image: set it to False")
  if not any(any(flags) for flags in partner.values()):
    raise UserError(
      f"bootstrap.policy={config.bootstrap.policy}, but no view is cut from the partner: set views.GROUP.partner for one"
    )
