"""One training step, the same for every method: views, forward passes, loss, gradient, update, EMA, state updates."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding

from jaxssl.augment import pipeline
from jaxssl.bootstrap.bank import NeighborBank
from jaxssl.bootstrap.policy import NeighborBootstrap
from jaxssl.config.schedules import Schedule
from jaxssl.config.schema import Config
from jaxssl.core import UserError
from jaxssl.core.rng import jax_key
from jaxssl.core.types import Array, Logs, Outputs, PyTree, TrainState, Variables, ViewBatch, struct
from jaxssl.evals.preprocessing import image_shape
from jaxssl.methods.base import Dims, SSLMethod, ViewSlice
from jaxssl.models.network import Network
from jaxssl.ops.collapse import collapse_metrics
from jaxssl.parallel.mesh import ROWS


@struct
class Batch:
  """The input of one step on the devices, sharded by rows."""

  index: Array  # int32 [b], position in the training set
  label: Array  # int32 [b], -1 unknown; for logs only
  crops: Mapping[str, Array] | None  # group -> [b, v, h, w, c], as stored, cut on the host; None: cut here from resident images


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainStep:
  """The stateless parts of a run, and the pure functions `init` and `step` on its train state."""

  config: Config
  network: Network
  method: SSLMethod
  schedules: Mapping[str, Schedule]  # of the method, by field name
  bootstrap: NeighborBootstrap
  optimizer: optax.GradientTransformationExtraArgs
  mesh: Mesh

  @functools.cached_property
  def dims(self) -> Dims:
    """The sizes of this run. Raises UserError if the heads do not match, or if the encoder cannot be trained on the views."""
    batch_size, shape, key = self.config.train.batch_size, image_shape(self.config), jax.random.key(0)
    rows, joint = batch_size // self.config.train.accumulate, self.method.forward_spec.joint
    groups = sorted({(views.size, views.count if joint else 1) for views in self.config.views.values()})

    def forward() -> Outputs:
      images = [jnp.zeros((rows, count, size, size, shape[-1])) for size, count in groups]
      variables = self.network.init(key, shape)
      if self.method.forward_spec.teacher:
        self.network.apply(variables, images[:1], joint=joint, key=None)
      return self.network.apply(variables, images, joint=joint, key=key)[0]

    example = jax.eval_shape(forward)
    projection, prediction = example.projection.shape[-1], example.prediction.shape[-1]
    if projection != prediction:
      raise UserError(f"model.predictor.out={prediction}: must equal the projection's width, {projection}")
    return Dims(features=example.features.shape[-1], projection=projection, batch=batch_size, images=self.bootstrap.num_images)

  def init(self) -> TrainState:
    """Returns the state before the first step, a function of `train.seed` alone."""
    dims, seed = self.dims, self.config.train.seed
    student = self.network.init(jax_key(seed, "weights"), image_shape(self.config))
    return TrainState(
      step=jnp.int32(0),
      student=student,
      teacher=self.network.teacher(student) if self.method.forward_spec.teacher else None,
      method_state=self.method.init_state(jax_key(seed, "method_state"), dims),
      neighbor_bank=self.bootstrap.init(dims.features),
      opt_state=self.optimizer.init(student.params),
    )

  def start_epoch(self, bank: NeighborBank, epoch: Array) -> NeighborBank:
    """Draws the partners of an epoch."""
    return self.bootstrap.sample_partners(bank, jax_key(self.config.train.seed, "partners"), epoch)

  def step(self, state: TrainState, batch: Batch, resident: Array | None) -> tuple[TrainState, Logs]:
    """Trains on one batch: (state, logs). `resident`: all training images [n, h, w, c] as stored; None with host crops."""
    key = jax.random.fold_in(jax_key(self.config.train.seed, "views"), state.step)
    crop_key, finish_key, forward_key = jax.random.split(key, 3)
    with jax.named_scope("views"):
      crops = batch.crops
      if crops is None:
        partner = batch.index if state.neighbor_bank is None else state.neighbor_bank.partners[batch.index]
        images = jnp.asarray(resident)
        crops = pipeline.crop(crop_key, jnp.stack([images[batch.index], images[partner]], axis=1), self.config.views)
      views = pipeline.finish(finish_key, crops, self.config.views, self.config.data.mean, self.config.data.std)
    return self.train(state, ViewBatch(index=batch.index, views=views, label=batch.label), forward_key)

  def train(self, state: TrainState, batch: ViewBatch, key: Array) -> tuple[TrainState, Logs]:
    """Trains on finished views: (state, logs). `profile` attributes time by the names of the scopes."""
    spec, method = self.method.forward_spec, self.method
    scheduled = {name: jnp.float32(schedule(state.step)) for name, schedule in self.schedules.items()}
    teacher, teacher_out = state.teacher, None
    if teacher is not None:
      if spec.ema_before_forward:
        teacher = self._ema(teacher, state.student, scheduled["teacher_momentum"])
      with jax.named_scope("teacher"):
        teacher_out, stats = self._teacher_forward(teacher, _views(batch, spec.teacher), state.step)
      teacher = dataclasses.replace(teacher, stats=stats)

    def objective(params: PyTree) -> tuple[Array, tuple[Outputs, Outputs, PyTree, Logs]]:
      slices = (*spec.student, *(views for views in spec.optional if views.group in batch.views))
      with jax.named_scope("student"):
        student = Variables(params=params, stats=state.student.stats)
        student_out, stats = self._forward(student, _views(batch, slices), key)
      targets = jax.tree.map(lambda x: x[:0], student_out) if teacher_out is None else teacher_out
      with jax.named_scope("loss"):
        loss, logs = method.loss(student_out, targets, state.method_state, scheduled)
      return loss, (student_out, targets, stats, logs)

    (loss, (student_out, targets, stats, logs)), gradient = jax.value_and_grad(objective, has_aux=True)(state.student.params)
    with jax.named_scope("update"):
      updates, opt_state = self.optimizer.update(gradient, state.opt_state, state.student.params, step=state.step)
      student = Variables(params=optax.apply_updates(state.student.params, updates), stats=stats)
    if teacher is not None and not spec.ema_before_forward:
      teacher = self._ema(teacher, student, scheduled["teacher_momentum"])

    own_features = (student_out if teacher_out is None else teacher_out).features
    with jax.named_scope("method_state"):
      method_state, more_logs = method.update_state(state.method_state, student_out, targets, batch)
    with jax.named_scope("neighbors"):
      bank = self.bootstrap.update_bank(state.neighbor_bank, batch.index, own_features)
    after = TrainState(
      step=state.step + 1, student=student, teacher=teacher, method_state=method_state, neighbor_bank=bank, opt_state=opt_state
    )
    with jax.named_scope("diagnostics"):
      metrics = {"loss": loss, "gradient_norm": optax.tree.norm(gradient)}
      metrics["feature_deviation"], metrics["feature_rank"] = collapse_metrics(student_out.features[0])
      metrics["projection_deviation"], metrics["projection_rank"] = collapse_metrics(student_out.projection[0])
    return after, {**metrics, **logs, **more_logs}

  def _teacher_forward(self, teacher: Variables, groups: Sequence[Array], step: Array) -> tuple[Outputs, PyTree]:
    """Runs the teacher as `_forward` does, with `shuffle_teacher` on rows in a random order, which the outputs do not have.

    Where all rows share their batch statistics, or there are none, the order would change nothing and is kept.
    """
    one_group = self.config.model.bn_groups == self.config.train.accumulate == 1
    if one_group or not self.method.forward_spec.shuffle_teacher or not teacher.stats:
      return self._forward(teacher, groups, None)
    key = jax.random.fold_in(jax_key(self.config.train.seed, "shuffle"), step)
    order = jax.random.permutation(key, len(groups[0]))
    by_rows = NamedSharding(self.mesh, ROWS)  # without it, every device might compute all rows
    shuffled = [jax.lax.with_sharding_constraint(group[order], by_rows) for group in groups]
    outputs, stats = self._forward(teacher, shuffled, None)
    places = jnp.argsort(order)
    return jax.tree.map(lambda x: x[:, places], outputs), stats

  def _forward(self, variables: Variables, groups: Sequence[Array], key: Array | None) -> tuple[Outputs, PyTree]:
    """Runs a network on views [b, v, h, w, c] of the batch: (outputs of the whole batch, batch statistics).

    With `train.accumulate` = m it runs m times, each time on b/m rows taken evenly from all devices, and the gradient repeats
    each pass. Loss and gradient are those of the whole batch, except for BatchNorm's statistics (GradCache, arXiv 2101.06983).
    """
    apply = functools.partial(self.network.apply, joint=self.method.forward_spec.joint)
    parts = self.config.train.accumulate
    if parts == 1:
      return apply(variables, groups, key=key)

    @jax.checkpoint
    def run_part(stats: PyTree, part: tuple[list[Array], Array]) -> tuple[PyTree, Outputs]:
      rows, number = part
      part_key = None if key is None else jax.random.fold_in(key, number)
      outputs, stats = apply(dataclasses.replace(variables, stats=stats), rows, key=part_key)
      return stats, outputs

    rows = [group.reshape(-1, parts, *group.shape[1:]).swapaxes(0, 1) for group in groups]
    stats, outputs = jax.lax.scan(run_part, variables.stats, (rows, jnp.arange(parts)))
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 2).reshape(x.shape[1], -1, *x.shape[3:]), outputs), stats

  def _ema(self, teacher: Variables, student: Variables, keep: Array) -> Variables:
    """Moves the teacher's parameters toward the student's; the teacher keeps its own batch statistics."""
    newest = {name: student.params[name] for name in teacher.params}
    with jax.named_scope("update"):
      return dataclasses.replace(teacher, params=jax.tree.map(lambda t, s: keep * t + (1 - keep) * s, teacher.params, newest))


def _views(batch: ViewBatch, slices: Sequence[ViewSlice]) -> list[Array]:
  """Returns the views [b, v, h, w, c] of each slice."""
  return [batch.views[views.group][:, views.start : views.stop] for views in slices]
