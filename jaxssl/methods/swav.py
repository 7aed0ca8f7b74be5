"""SwAV: predict the prototypes that Sinkhorn assigns to the other view (arXiv 2006.09882)."""

import dataclasses

import jax
import jax.numpy as jnp

from jaxssl.config.schedules import Schedule
from jaxssl.core.errors import UserError
from jaxssl.core.types import Array, Logs, Outputs, ViewBatch
from jaxssl.losses.distillation import cross_view_entropy, entropy
from jaxssl.losses.sinkhorn import assign
from jaxssl.methods.base import Dims, ForwardSpec, ViewSlice, require_multiple, require_negatives, require_positive
from jaxssl.methods.queue import Queue, enqueue, random_queue


@dataclasses.dataclass(frozen=True, kw_only=True)
class SwAV:
  """The codes of the first two views are the targets of all other views. `model.projector` is a `dino` head: its prototypes.

  With a queue, past images take part in the assignment where `queue_use` has reached 1. The paper's queue holds embeddings and
  scores them anew; here it holds the scores, which are as old as they are.
  """

  queue_use: Schedule
  temperature: float = 0.1
  sinkhorn_temperature: float = 0.05
  sinkhorn_iterations: int = 3
  queue: int = 0  # past images, for each view; 0: none
  teacher_momentum: None = dataclasses.field(default=None, init=False)
  forward_spec: ForwardSpec = dataclasses.field(
    default=ForwardSpec(student=(ViewSlice("global", 0, 2),), optional=(ViewSlice("local"),), joint=True), init=False
  )

  def __post_init__(self) -> None:
    require_positive(temperature=self.temperature, sinkhorn_temperature=self.sinkhorn_temperature)
    if self.sinkhorn_iterations < 1:
      raise UserError(f"method.sinkhorn_iterations={self.sinkhorn_iterations} is not allowed; at least 1")

  def init_memory(self, key: Array, dims: Dims) -> tuple[Queue, ...]:
    """Starts with the scores of random rows."""
    require_negatives(dims.batch)
    if not self.queue:
      return ()
    require_multiple(self.queue, dims.batch)
    return tuple(random_queue(k, self.queue, dims.projection) for k in jax.random.split(key))

  def loss(self, student: Outputs, teacher: Outputs | None, memory: tuple[Queue, ...], step: Array) -> tuple[Array, Logs]:
    """Cross-entropy of each view with the codes of every other (SwAV, eq. 1-2)."""
    scores = student.prediction
    codes = jnp.stack([self.codes(view, memory[i : i + 1], step) for i, view in enumerate(scores[:2])])
    logs = {"teacher_entropy": entropy(codes), "prototypes_used": jnp.exp(entropy(codes.mean((0, 1))))}
    return cross_view_entropy(codes, scores / self.temperature), logs

  def codes(self, scores: Array, queue: tuple[Queue, ...], step: Array) -> Array:
    """Assigns one view's images [b, k] to prototypes, past images helping where there is a queue and its time has come."""

    def alone() -> Array:
      return assign(scores, self.sinkhorn_temperature, self.sinkhorn_iterations)

    def together() -> Array:
      rows = jnp.concatenate([queue[0].rows, scores])
      return assign(rows, self.sinkhorn_temperature, self.sinkhorn_iterations)[-len(scores) :]

    return jax.lax.cond(self.queue_use(step) >= 1, together, alone) if queue else alone()

  def remember(
    self, memory: tuple[Queue, ...], student: Outputs, teacher: Outputs | None, batch: ViewBatch
  ) -> tuple[tuple[Queue, ...], Logs]:
    """Puts the first two views' scores into their queues."""
    both = zip(memory, student.prediction, strict=False)
    return tuple(enqueue(queue, scores, batch.label) for queue, scores in both), {}
