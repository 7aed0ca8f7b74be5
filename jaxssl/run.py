"""The parts of one run put together: pictures, network, method, optimiser, and the compiled functions that train."""

import dataclasses
import functools
import logging
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxssl import assembly, parallel, splits
from jaxssl.config import Config
from jaxssl.data import pipeline, plan, sources, statistics
from jaxssl.methods.base import Dims
from jaxssl.step import Rows
from jaxssl.types import Array, Logs, TrainState, Variables
from jaxssl.weights import start

LOG = logging.getLogger("jaxssl")


class Run:
  """All of a run but its state. Raises UserError for a config that cannot run, before anything is trained.

  `config` of the run is the one given, with `data.mean` and `data.std` measured where they are empty.
  """

  def __init__(self, config: Config, workdir: pathlib.Path, arrays: sources.Arrays | None = None, encoder: Any = None):
    self.mesh, self.channels = parallel.make_mesh(), config.data.channels
    pictures = sources.open_sources(config.data, config.train.seed, arrays, workdir)
    num_images = len(pictures.train)
    trainer = assembly.assemble(config, self.mesh, num_images, encoder)
    if parallel.compute_precision(self.mesh, config.train.precision) != config.train.precision:
      LOG.info("train.precision=%s: networks compute in float32, since a CPU has no fast bfloat16", config.train.precision)
    self.horizon = assembly.horizon(config, num_images)
    size = config.views[trainer.method.passes.online[0].group].size
    self.imported = start.load(config.model, trainer.network, (size, size, self.channels), workdir)
    # from here on it may take minutes, and a mistake must have shown before
    self.config = config = dataclasses.replace(config, data=statistics.settled(config.data, pictures.train))
    self.trainer = dataclasses.replace(trainer, config=config)
    self.splits = splits.load(config, self.mesh, pictures)
    self.train = self.splits.train

  @functools.cached_property
  def dims(self) -> Dims:
    """The sizes of the run."""
    return self.trainer.dims(self.channels)

  @functools.cached_property
  def state_shapes(self) -> TrainState:
    """Shapes, types and shardings of the state."""
    return assembly.state_of(self.trainer, self.channels)

  @functools.cached_property
  def _shardings(self) -> TrainState:
    return jax.tree.map(lambda x: x.sharding, self.state_shapes)

  def init(self) -> TrainState:
    """Makes the state before the first step: from the seed, and the encoders from `model.init_from`."""
    state = jax.jit(lambda: self.trainer.init(self.channels), out_shardings=self._shardings)()
    teacher = state.teacher and self._imported(state.teacher, self._shardings.teacher)
    return dataclasses.replace(state, online=self._imported(state.online, self._shardings.online), teacher=teacher)

  def untrained(self) -> Variables:
    """Makes the online network before the first step."""
    online = jax.jit(lambda: self.trainer.init(self.channels).online, out_shardings=self._shardings.online)()
    return self._imported(online, self._shardings.online)

  def _imported(self, variables: Variables, shardings: Any) -> Variables:
    if self.imported is None:
      return variables
    # Copied under jit: two networks must not share memory with each other or with numpy, for a step uses up what it is given.
    made = start.put(parallel.fetch(self.mesh, variables), self.imported)
    return jax.jit(lambda tree: jax.tree.map(jnp.copy, tree), out_shardings=shardings)(made)

  @functools.cached_property
  def _step(self):  # noqa: ANN202
    return assembly.step_of(self.trainer, self.state_shapes)

  def step(self, state: TrainState, rows: Rows) -> tuple[TrainState, Logs]:
    """Trains on one batch; the state given is used up."""
    return self._step(state, rows, self.train.store)

  def compiled(self, rows: Rows) -> jax.stages.Compiled:
    """Compiles a step for batches like this, to be looked at; it takes a state, such a batch, and the stored pictures."""
    return self._step.lower(self.state_shapes, rows, self.train.store).compile()

  @functools.cached_property
  def _open_epoch(self):  # noqa: ANN202
    def draw(state: TrainState, epoch: Array) -> TrainState:
      key = jax.random.key(self.config.train.seed + 2)
      return dataclasses.replace(state, neighbors=self.trainer.bootstrap.partners(state.neighbors, key, epoch))

    return jax.jit(draw, donate_argnums=0, out_shardings=self._shardings)

  def open_epoch(self, state: TrainState, epoch: int) -> TrainState:
    """Draws the partners of an epoch at its start; the state given is used up."""
    if state.neighbors is None:
      return state
    return self._open_epoch(state, parallel.everywhere(self.mesh, np.int32(epoch)))

  def rows(self, state: TrainState, epoch: int, first: int) -> Iterator[Rows]:
    """Gives an epoch's batches from its step `first` on, on the devices."""
    config, source = self.config, self.train.source
    partners = None
    if state.neighbors is not None:
      partners = parallel.fetch(self.mesh, state.neighbors.partners)[: len(source)]
    index, partner = plan.epoch_plan(config.train.seed, epoch, len(source), config.train.batch_size, partners)
    own = parallel.own_rows(self.mesh, config.train.batch_size)
    index, partner = index[:, own], partner[:, own]
    if self.train.store is not None:
      batches = ((i, p, None) for i, p in zip(index[first:], partner[first:], strict=True))
    else:
      batches = pipeline.host_batches(
        source, index, partner, config.views, config.train.seed, epoch, first, config.data.workers
      )
    labels = source.labels
    for i, p, crops in batches:
      label = np.full(len(i), -1, np.int32) if labels is None else labels[i]
      rows: Any = {"index": i, "partner": p, "label": label, "crops": crops}
      yield Rows(**parallel.global_rows(self.mesh, rows))
