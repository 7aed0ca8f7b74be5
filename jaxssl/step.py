"""One training step, the same for every method: views, passes, gradient, update, average, remember."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jaxssl.bootstrap import Bootstrap
from jaxssl.config import Config
from jaxssl.methods.base import Dims, Method
from jaxssl.models.network import Network
from jaxssl.types import Array, Batch, Logs, Outputs, PyTree, TrainState, Variables, struct
from jaxssl.views import recipes


@struct
class Rows:
  """What travels to the devices for one step, split by rows."""

  index: Array  # int32 [b]
  partner: Array  # int32 [b]
  label: Array  # int32 [b]
  crops: Mapping[str, Array] | None  # uint8 [b, v, h, w, c] by group, cut on the host; None: cut here, from the store


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trainer:
  """The parts of a run, none of which holds state."""

  config: Config
  network: Network
  method: Method
  bootstrap: Bootstrap
  optimizer: optax.GradientTransformationExtraArgs
  mesh: Mesh

  def init(self, channels: int) -> TrainState:
    """Makes the state before the first step, for pictures of so many channels, from the config's seed alone."""
    passes, views = self.method.passes, self.config.views
    weights_key, memory_key, views_key = jax.random.split(jax.random.key(self.config.train.seed), 3)
    size, batch_size = views[passes.online[0]].size, self.config.train.batch_size
    online = self.network.init(weights_key, (size, size, channels))
    example = jax.eval_shape(
      lambda: self.network.apply(online, [jnp.zeros((batch_size, 1, size, size, channels))], joint=passes.joint, key=views_key)[
        0
      ]
    )
    dims = Dims(
      features=example.features.shape[-1],
      projection=example.projection.shape[-1],
      batch=batch_size,
      images=self.bootstrap.num_images,
    )
    return TrainState(
      step=jnp.int32(0),
      online=online,
      teacher=jax.tree.map(jnp.copy, online) if passes.teacher else None,
      memory=self.method.init_memory(memory_key, dims),
      neighbors=self.bootstrap.init(dims.features),
      opt_state=self.optimizer.init(online.params),
    )

  def step(self, state: TrainState, rows: Rows, store: Array | None) -> tuple[TrainState, Logs]:
    """Trains on one batch. `store`: uint8 [n, h, w, c], all pictures, where the host did not cut the crops."""
    key = jax.random.fold_in(jax.random.key(self.config.train.seed + 1), state.step)
    crop_key, finish_key, pass_key = jax.random.split(key, 3)
    crops = rows.crops
    if crops is None:
      assert store is not None
      crops = recipes.crop(crop_key, jnp.stack([store[rows.index], store[rows.partner]], axis=1), self.config.views)
    views = recipes.finish(finish_key, crops, self.config.views, self.config.data.mean, self.config.data.std)
    batch = Batch(index=rows.index, views=views, label=rows.label, mask=jnp.ones_like(rows.index, bool))
    return self.train(state, batch, pass_key)

  def train(self, state: TrainState, batch: Batch, key: Array) -> tuple[TrainState, Logs]:
    """Trains on views that are ready: the whole of a step but their making."""
    passes = self.method.passes
    online_key, teacher_key = jax.random.split(key)

    teacher, teacher_out = state.teacher, None
    if teacher is not None and passes.average_first:
      teacher = self._average(teacher, state.online, state.step)
    if teacher is not None:
      groups = [batch.views[name] for name in passes.teacher]
      teacher_out, stats = self.network.apply(teacher, groups, joint=passes.joint, key=None)
      teacher = dataclasses.replace(teacher, stats=stats)

    def objective(params: PyTree) -> tuple[Array, tuple[Outputs, PyTree, Logs]]:
      names = [*passes.online, *(name for name in passes.optional if name in batch.views)]
      groups = [batch.views[name] for name in names]
      variables = Variables(params=params, stats=state.online.stats)
      outputs, stats = self.network.apply(variables, groups, joint=passes.joint, key=online_key)
      loss, logs = self.method.loss(outputs, teacher_out, state.memory, state.step)
      return loss, (outputs, stats, logs)

    (loss, (online_out, stats, logs)), gradient = jax.value_and_grad(objective, has_aux=True)(state.online.params)
    updates, opt_state = self.optimizer.update(gradient, state.opt_state, state.online.params, step=state.step)
    online = Variables(params=optax.apply_updates(state.online.params, updates), stats=stats)
    if teacher is not None and not passes.average_first:
      teacher = self._average(teacher, online, state.step)

    seen = teacher_out if teacher_out is not None else online_out
    after = TrainState(
      step=state.step + 1,
      online=online,
      teacher=teacher,
      memory=self.method.remember(state.memory, online_out, teacher_out, batch),
      neighbors=self.bootstrap.remember(state.neighbors, batch.index, seen.features),
      opt_state=opt_state,
    )
    return after, {"loss": loss, "gradient_norm": optax.tree.norm(gradient), **logs}

  def _average(self, teacher: Variables, online: Variables, step: Array) -> Variables:
    """Moves the teacher's parameters towards the online network's; its batch statistics are its own."""
    assert self.method.momentum is not None
    keep = self.method.momentum(step)
    params = jax.tree.map(lambda t, o: keep * t + (1 - keep) * o, teacher.params, online.params)
    return dataclasses.replace(teacher, params=params)
