"""NNCLR: contrast with the nearest neighbour of a view in a queue instead of the view itself (arXiv 2104.14548)."""

import dataclasses

import jax
import jax.numpy as jnp

from jaxssl import memory as memories
from jaxssl.memory import Queue
from jaxssl.methods.base import Dims, Passes, Views, require_multiple, require_negatives, require_positive
from jaxssl.ops.contrastive import in_batch
from jaxssl.ops.similarity import inner, normalize
from jaxssl.types import Array, Batch, Logs, Outputs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nnclr:
  """Each view's neighbour finds the other view's prediction within the batch."""

  temperature: float = 0.1
  queue: int = 65_536
  momentum: None = dataclasses.field(default=None, init=False)
  passes: Passes = dataclasses.field(default=Passes(online=(Views("global", 0, 2),)), init=False)

  def __post_init__(self) -> None:
    require_positive(temperature=self.temperature)

  def init_memory(self, key: Array, dims: Dims) -> Queue:
    """Starts with random unit rows."""
    require_negatives(dims.batch)
    require_multiple(self.queue, dims.batch)
    return memories.random_queue(key, self.queue, dims.projection)

  def loss(self, online: Outputs, teacher: Outputs | None, memory: Queue, step: Array) -> tuple[Array, Logs]:
    """Mean of both directions (NNCLR, eq. 2-3); no gradient into the neighbours."""
    found = jax.lax.stop_gradient(memory.rows[jnp.argmax(inner(normalize(online.projection), memory.rows), axis=-1)])
    p = normalize(online.prediction)
    return 0.5 * (in_batch(found[0], p[1], self.temperature) + in_batch(found[1], p[0], self.temperature)), {}

  def remember(self, memory: Queue, online: Outputs, teacher: Outputs | None, batch: Batch) -> tuple[Queue, Logs]:
    """Puts the first view's projections into the queue."""
    return memories.enqueue(memory, normalize(online.projection[0]), batch.label), {}
