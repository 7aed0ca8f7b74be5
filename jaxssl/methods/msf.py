"""MSF, mean shift: the student moves towards its target's nearest neighbors in a queue (arXiv 2105.07269)."""

import dataclasses

import jax
import jax.numpy as jnp

from jaxssl.config.schedules import Schedule
from jaxssl.core.errors import UserError
from jaxssl.core.types import Array, Logs, Outputs, ViewBatch
from jaxssl.losses.distillation import cosine_distance
from jaxssl.methods.base import Dims, ForwardSpec, Strength, pair, require_multiple, require_positive
from jaxssl.methods.queue import Queue, enqueue, random_queue
from jaxssl.ops.nearest import dot, normalize


@dataclasses.dataclass(frozen=True, kw_only=True)
class MSF:
  """The target enters the queue first, so it is always among its own neighbors: BYOL with k targets."""

  teacher_momentum: Schedule
  queue: int = 128_000
  k: int = 5
  student_view: Strength = "strong"
  teacher_view: Strength = "weak"

  def __post_init__(self) -> None:
    require_positive(k=self.k)

  @property
  def forward_spec(self) -> ForwardSpec:
    """One view each; the teacher moves before its pass, as released."""
    return pair(self.student_view, self.teacher_view, ema_before_forward=True)

  def init_memory(self, key: Array, dims: Dims) -> Queue:
    """Starts with random unit rows."""
    require_multiple(self.queue, dims.batch)
    if self.k > self.queue:
      raise UserError(f"method.k={self.k} is not allowed; it is at most method.queue={self.queue}")
    return random_queue(key, self.queue, dims.projection)

  def nearest(self, teacher: Outputs, queue: Queue, labels: Array) -> tuple[Queue, Array]:
    """Puts the targets into the queue, then finds their nearest rows: (queue, row numbers int32 [b, k])."""
    targets = normalize(teacher.projection[0])
    queue = enqueue(queue, targets, labels)
    return queue, jax.lax.top_k(dot(targets, queue.rows), self.k)[1]

  def loss(self, student: Outputs, teacher: Outputs | None, memory: Queue, step: Array) -> tuple[Array, Logs]:
    """Mean squared distance to the k nearest rows (MSF, section 3)."""
    assert teacher is not None
    queue, rows = self.nearest(teacher, memory, jnp.full(teacher.projection.shape[1], -1))
    neighbors = jax.lax.stop_gradient(queue.rows[rows])
    return cosine_distance(normalize(student.prediction[0])[:, None], neighbors), {}

  def remember(self, memory: Queue, student: Outputs, teacher: Outputs | None, batch: ViewBatch) -> tuple[Queue, Logs]:
    """Keeps the targets. `purity`: share of the k neighbors (the image's own target is one) with the image's label."""
    assert teacher is not None
    queue, rows = self.nearest(teacher, memory, batch.label)
    same = jnp.mean(queue.labels[rows] == batch.label[:, None], axis=-1)
    return queue, {"purity": jnp.mean(same, where=batch.label >= 0)}
