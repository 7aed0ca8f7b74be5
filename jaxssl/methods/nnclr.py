"""NNCLR: contrast with the nearest neighbor of a view in a queue instead of the view itself (arXiv 2104.14548)."""

import jax
import jax.numpy as jnp

from jaxssl.config.roles import fixed
from jaxssl.core.types import Array, Logs, Outputs, ViewBatch
from jaxssl.losses.contrastive import in_batch
from jaxssl.methods.base import TWO_VIEWS, Dims, ForwardSpec, Scheduled, SSLMethod, register
from jaxssl.methods.queue import Queue, enqueue, random_queue
from jaxssl.ops.nearest import dot, normalize


@register("nnclr")
class NNCLR(SSLMethod):
  """Each view's neighbor finds the other view's prediction within the batch."""

  temperature: float = 0.1  # divides the similarities
  queue: int = fixed(65_536)  # past projections that nearest neighbors come from; a multiple of train.batch_size
  forward_spec = ForwardSpec(student=TWO_VIEWS)
  needs_negatives = True
  must_be_positive = ("temperature",)

  def init_state(self, key: Array, dims: Dims) -> Queue:
    return random_queue(key, self.queue, dims)

  def loss(self, student: Outputs, teacher: Outputs, state: Queue, scheduled: Scheduled) -> tuple[Array, Logs]:
    """Returns the mean of both directions (NNCLR, eq. 2-3); the neighbors get no gradient."""
    neighbors = jax.lax.stop_gradient(state.rows[jnp.argmax(dot(normalize(student.projection), state.rows), axis=-1)])
    p = normalize(student.prediction)
    return 0.5 * (in_batch(neighbors[0], p[1], self.temperature) + in_batch(neighbors[1], p[0], self.temperature)), {}

  def update_state(self, state: Queue, student: Outputs, teacher: Outputs, batch: ViewBatch) -> tuple[Queue, Logs]:
    return enqueue(state, normalize(student.projection[0]), batch.label), {}
