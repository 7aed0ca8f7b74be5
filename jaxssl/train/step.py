"""One training step, the same for every method: views, passes, gradient, update, average, remember."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jaxssl.augment import pipeline
from jaxssl.bootstrap.policy import NeighborBootstrap
from jaxssl.config.schema import Config
from jaxssl.core.errors import UserError
from jaxssl.core.types import Array, Logs, Outputs, PyTree, TrainState, Variables, ViewBatch, struct
from jaxssl.methods.base import Dims, Method, ViewSlice
from jaxssl.models.network import Network
from jaxssl.ops.collapse import collapse_metrics


@struct
class Batch:
  """What travels to the devices for one step, split by rows."""

  index: Array  # int32 [b]
  partner: Array  # int32 [b]
  label: Array  # int32 [b]
  crops: Mapping[str, Array] | None  # [b, v, h, w, c], as stored, by group, cut on the host; None: cut here, from the store


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainStep:
  """The parts of a run, none of which holds state."""

  config: Config
  network: Network
  method: Method
  bootstrap: NeighborBootstrap
  optimizer: optax.GradientTransformationExtraArgs
  mesh: Mesh

  def dims(self, channels: int) -> Dims:
    """Gives the sizes of this run, for images of so many channels. Raises UserError where the heads do not fit each other."""
    forward_spec, batch_size = self.method.forward_spec, self.config.train.batch_size
    size, key = self.config.views[forward_spec.student[0].group].size, jax.random.key(0)

    def see() -> Outputs:
      student, images = self.network.init(key, (size, size, channels)), jnp.zeros((batch_size, 1, size, size, channels))
      return self.network.apply(student, [images], joint=forward_spec.joint, key=key)[0]

    example = jax.eval_shape(see)
    widths = {name: getattr(example, name).shape[-1] for name in ("features", "projection", "prediction")}
    if widths["projection"] != widths["prediction"]:
      raise UserError(f"the predictor's width, {widths['prediction']}, is not the projection's, {widths['projection']}")
    return Dims(
      features=widths["features"], projection=widths["projection"], batch=batch_size, images=self.bootstrap.num_images
    )

  def init(self, channels: int) -> TrainState:
    """Makes the state before the first step, for images of so many channels, from the config's seed alone."""
    forward_spec, dims = self.method.forward_spec, self.dims(channels)
    weights_key, memory_key, _ = jax.random.split(jax.random.key(self.config.train.seed), 3)
    size = self.config.views[forward_spec.student[0].group].size
    student = self.network.init(weights_key, (size, size, channels))
    return TrainState(
      step=jnp.int32(0),
      student=student,
      teacher=self.network.teacher(student) if forward_spec.teacher else None,
      memory=self.method.init_memory(memory_key, dims),
      neighbors=self.bootstrap.init(dims.features),
      opt_state=self.optimizer.init(student.params),
    )

  def step(self, state: TrainState, rows: Batch, store: Array | None) -> tuple[TrainState, Logs]:
    """Trains on one batch. `store`: uint8 or uint16 [n, h, w, c], all images, where the host did not cut the crops."""
    key = jax.random.fold_in(jax.random.key(self.config.train.seed + 1), state.step)
    crop_key, finish_key, pass_key = jax.random.split(key, 3)
    crops = rows.crops
    with jax.named_scope("views"):
      if crops is None:
        assert store is not None
        crops = pipeline.crop(crop_key, jnp.stack([store[rows.index], store[rows.partner]], axis=1), self.config.views)
      views = pipeline.finish(finish_key, crops, self.config.views, self.config.data.mean, self.config.data.std)
    batch = ViewBatch(index=rows.index, views=views, label=rows.label, mask=jnp.ones_like(rows.index, bool))
    return self.train(state, batch, pass_key)

  def train(self, state: TrainState, batch: ViewBatch, key: Array) -> tuple[TrainState, Logs]:
    """Trains on views that are ready: the whole of a step but their making. `profile` knows its parts by the scopes' names."""
    forward_spec, method = self.method.forward_spec, self.method
    teacher, teacher_out = state.teacher, None
    if teacher is not None:
      if forward_spec.ema_before_forward:
        teacher = self._average(teacher, state.student, state.step)
      with jax.named_scope("teacher"):
        teacher_out, stats = self._see(teacher, batch, forward_spec.teacher, None)
      teacher = dataclasses.replace(teacher, stats=stats)

    def objective(params: PyTree) -> tuple[Array, tuple[Outputs, PyTree, Logs]]:
      seen = (*forward_spec.student, *(views for views in forward_spec.optional if views.group in batch.views))
      with jax.named_scope("student"):
        outputs, stats = self._see(Variables(params=params, stats=state.student.stats), batch, seen, key)
      with jax.named_scope("loss"):
        loss, logs = method.loss(outputs, teacher_out, state.memory, state.step)
      return loss, (outputs, stats, logs)

    (loss, (student_out, stats, logs)), gradient = jax.value_and_grad(objective, has_aux=True)(state.student.params)
    with jax.named_scope("update"):
      updates, opt_state = self.optimizer.update(gradient, state.opt_state, state.student.params, step=state.step)
      student = Variables(params=optax.apply_updates(state.student.params, updates), stats=stats)
    if teacher is not None and not forward_spec.ema_before_forward:
      teacher = self._average(teacher, student, state.step)

    bank_out = teacher_out if teacher_out is not None else student_out
    with jax.named_scope("memory"):
      memory, more_logs = method.remember(state.memory, student_out, teacher_out, batch)
    with jax.named_scope("neighbors"):
      neighbors = self.bootstrap.remember(state.neighbors, batch.index, bank_out.features)
    after = TrainState(
      step=state.step + 1,
      student=student,
      teacher=teacher,
      memory=memory,
      neighbors=neighbors,
      opt_state=opt_state,
    )
    with jax.named_scope("vitals"):
      vitals = {"loss": loss, "gradient_norm": optax.tree.norm(gradient)}
      vitals["feature_deviation"], vitals["feature_rank"] = collapse_metrics(student_out.features[0])
      vitals["projection_deviation"], vitals["projection_rank"] = collapse_metrics(student_out.projection[0])
    return after, {**vitals, **logs, **more_logs}

  def _see(
    self, variables: Variables, batch: ViewBatch, seen: Sequence[ViewSlice], key: Array | None
  ) -> tuple[Outputs, PyTree]:
    """Runs a network over views of the batch: (outputs of the whole batch, batch statistics).

    With `train.accumulate` = m it runs m times, each time over b/m rows taken evenly from all devices. Only the outputs are
    kept; the gradient runs each pass again when its turn comes. So the loss still sees the whole batch, and the gradient is
    that of the whole batch, but for BatchNorm, which sees b/m rows (GradCache, arXiv 2101.06983).
    """
    groups = [batch.views[views.group][:, views.start : views.stop] for views in seen]
    apply = functools.partial(self.network.apply, joint=self.method.forward_spec.joint)
    parts = self.config.train.accumulate
    if parts == 1:
      return apply(variables, groups, key=key)

    @jax.checkpoint
    def one(stats: PyTree, part: tuple[list[Array], Array]) -> tuple[PyTree, Outputs]:
      rows, number = part
      part_key = None if key is None else jax.random.fold_in(key, number)
      outputs, stats = apply(dataclasses.replace(variables, stats=stats), rows, key=part_key)
      return stats, outputs

    rows = [group.reshape(-1, parts, *group.shape[1:]).swapaxes(0, 1) for group in groups]
    stats, outputs = jax.lax.scan(one, variables.stats, (rows, jnp.arange(parts)))
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 2).reshape(x.shape[1], -1, x.shape[-1]), outputs), stats

  def _average(self, teacher: Variables, student: Variables, step: Array) -> Variables:
    """Moves the teacher's parameters towards the student network's; its batch statistics are its own."""
    assert self.method.teacher_momentum is not None
    keep = self.method.teacher_momentum(step)
    newest = {name: student.params[name] for name in teacher.params}
    with jax.named_scope("update"):
      return dataclasses.replace(teacher, params=jax.tree.map(lambda t, o: keep * t + (1 - keep) * o, teacher.params, newest))
