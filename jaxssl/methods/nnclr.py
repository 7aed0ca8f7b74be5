"""NNCLR: contrast with the nearest neighbor of a view in a queue instead of the view itself (arXiv 2104.14548)."""

import dataclasses

import jax
import jax.numpy as jnp

from jaxssl.core.types import Array, Logs, Outputs, ViewBatch
from jaxssl.losses.contrastive import in_batch
from jaxssl.methods.base import Dims, ForwardSpec, ViewSlice, require_multiple, require_negatives, require_positive
from jaxssl.methods.queue import Queue, enqueue, random_queue
from jaxssl.ops.nearest import dot, normalize


@dataclasses.dataclass(frozen=True, kw_only=True)
class NNCLR:
  """Each view's neighbor finds the other view's prediction within the batch."""

  temperature: float = 0.1
  queue: int = 65_536
  teacher_momentum: None = dataclasses.field(default=None, init=False)
  forward_spec: ForwardSpec = dataclasses.field(default=ForwardSpec(student=(ViewSlice("global", 0, 2),)), init=False)

  def __post_init__(self) -> None:
    require_positive(temperature=self.temperature)

  def init_memory(self, key: Array, dims: Dims) -> Queue:
    """Starts with random unit rows."""
    require_negatives(dims.batch)
    require_multiple(self.queue, dims.batch)
    return random_queue(key, self.queue, dims.projection)

  def loss(self, student: Outputs, teacher: Outputs | None, memory: Queue, step: Array) -> tuple[Array, Logs]:
    """Mean of both directions (NNCLR, eq. 2-3); no gradient into the neighbors."""
    found = jax.lax.stop_gradient(memory.rows[jnp.argmax(dot(normalize(student.projection), memory.rows), axis=-1)])
    p = normalize(student.prediction)
    return 0.5 * (in_batch(found[0], p[1], self.temperature) + in_batch(found[1], p[0], self.temperature)), {}

  def remember(self, memory: Queue, student: Outputs, teacher: Outputs | None, batch: ViewBatch) -> tuple[Queue, Logs]:
    """Puts the first view's projections into the queue."""
    return enqueue(memory, normalize(student.projection[0]), batch.label), {}
