"""MSF, mean shift: the student moves toward its target's nearest neighbors in a queue (arXiv 2105.07269)."""

from typing import Literal

import jax
import jax.numpy as jnp

from jaxssl.config.roles import fixed
from jaxssl.core import require
from jaxssl.core.types import Array, Logs, Outputs, ViewBatch
from jaxssl.losses.distillation import cosine_distance
from jaxssl.methods.base import Dims, OneViewMethod, Scheduled, register
from jaxssl.methods.queue import Queue, enqueue, purity, random_queue
from jaxssl.ops.nearest import dot, normalize, top_k_of_rows


@register("msf")
class MSF(OneViewMethod):
  """BYOL with k targets: the target enters the queue first, so it is always among its own neighbors."""

  queue: int = fixed(128_000)  # past teacher projections; a multiple of train.batch_size
  k: int = 5  # nearest neighbors of the teacher's projection in the queue
  teacher_view: Literal["weak", "strong"] = "weak"  # augmentation of the teacher's view
  must_be_positive = ("k",)

  def init_state(self, key: Array, dims: Dims) -> Queue:
    require(self.k <= self.queue, "method.k", self.k, f"at most method.queue={self.queue}")
    return random_queue(key, self.queue, dims)

  def nearest(self, teacher: Outputs, queue: Queue, labels: Array) -> tuple[Queue, Array]:
    """Enqueues the targets, then finds their nearest rows: (queue, row numbers int32 [b, k])."""
    targets = normalize(teacher.projection[0])
    queue = enqueue(queue, targets, labels)
    return queue, top_k_of_rows(dot(targets, queue.rows), self.k)

  def loss(self, student: Outputs, teacher: Outputs, state: Queue, scheduled: Scheduled) -> tuple[Array, Logs]:
    """Returns the mean squared distance to the k nearest rows (MSF, section 3)."""
    queue, rows = self.nearest(teacher, state, jnp.full(teacher.projection.shape[1], -1))
    neighbors = jax.lax.stop_gradient(queue.rows[rows])
    return cosine_distance(normalize(student.prediction[0])[:, None], neighbors), {}

  def update_state(self, state: Queue, student: Outputs, teacher: Outputs, batch: ViewBatch) -> tuple[Queue, Logs]:
    """Keeps the targets. `purity`: share of the k neighbors, the image's own target included, with the image's label."""
    queue, rows = self.nearest(teacher, state, batch.label)
    return queue, {"purity": purity(queue, rows, batch.label)}
