"""SwAV: each view predicts the prototypes that Sinkhorn assigns to the other views (arXiv 2006.09882)."""

import jax
import jax.numpy as jnp

from jaxssl.config.roles import fixed
from jaxssl.config.schedules import ScheduleConfig
from jaxssl.core.types import Array, Logs, Outputs, ViewBatch
from jaxssl.losses.distillation import cross_view_entropy, entropy
from jaxssl.losses.sinkhorn import assign
from jaxssl.methods.base import TWO_VIEWS, Dims, ForwardSpec, Scheduled, SSLMethod, ViewSlice, register
from jaxssl.methods.queue import Queues, enqueue, random_queue


@register("swav")
class SwAV(SSLMethod):
  """The codes of the first two views are the targets of all other views. `model.projector` is a `dino` head: its prototypes.

  With a queue, past images take part in the assignment once `queue_use` has reached 1. The paper's queue holds embeddings and
  scores them anew; this one holds the scores of past steps.
  """

  queue_use: ScheduleConfig  # the queue takes part in the assignment once this reaches 1
  temperature: float = 0.1  # divides the scores of the prototypes
  sinkhorn_temperature: float = 0.05  # divides the scores before the Sinkhorn assignment
  sinkhorn_iterations: int = 3  # iterations of the Sinkhorn algorithm
  queue: int = fixed(0)  # past images per view; 0: none
  forward_spec = ForwardSpec(student=TWO_VIEWS, optional=(ViewSlice("local"),), joint=True)
  needs_negatives = True
  must_be_positive = ("temperature", "sinkhorn_temperature", "sinkhorn_iterations")

  def init_state(self, key: Array, dims: Dims) -> Queues:
    return tuple(random_queue(k, self.queue, dims) for k in jax.random.split(key)) if self.queue else ()

  def loss(self, student: Outputs, teacher: Outputs, state: Queues, scheduled: Scheduled) -> tuple[Array, Logs]:
    """Returns the cross-entropy of each view with the codes of every other view (SwAV, eq. 1-2)."""
    scores, use = student.prediction, scheduled["queue_use"]
    codes = jnp.stack([self.codes(view, state[i : i + 1], use) for i, view in enumerate(scores[:2])])
    logs = {"teacher_entropy": entropy(codes), "prototypes_used": jnp.exp(entropy(codes.mean((0, 1))))}
    return cross_view_entropy(codes, scores / self.temperature), logs

  def codes(self, scores: Array, queue: Queues, use: Array) -> Array:
    """Assigns one view's images [b, k] to prototypes, together with past images if there is a queue and `use` is 1."""

    def codes_of(rows: Array) -> Array:
      return assign(rows, self.sinkhorn_temperature, self.sinkhorn_iterations)[-len(scores) :]

    if not queue:
      return codes_of(scores)
    return jax.lax.cond(use >= 1, lambda: codes_of(jnp.concatenate([queue[0].rows, scores])), lambda: codes_of(scores))

  def update_state(self, state: Queues, student: Outputs, teacher: Outputs, batch: ViewBatch) -> tuple[Queues, Logs]:
    views = zip(state, student.prediction, strict=False)  # the first two; none without queues
    return tuple(enqueue(queue, scores, batch.label) for queue, scores in views), {}
