"""MoCo v2: a query finds its image's key among a queue of past keys (arXiv 1911.05722, 2003.04297)."""

import jax
import jax.numpy as jnp

from jaxssl.config.roles import fixed
from jaxssl.core.types import Array, Logs, Outputs, ViewBatch
from jaxssl.losses.contrastive import against_queue
from jaxssl.methods.base import Dims, ForwardSpec, Scheduled, TeacherMethod, ViewSlice, register
from jaxssl.methods.queue import Queues, enqueue, random_queue
from jaxssl.ops.nearest import normalize


@register("mocov2")
class MoCoV2(TeacherMethod):
  """One queue and one direction; `symmetric`: both directions, each with its own queue, averaged."""

  queue: int = fixed(65_536)  # past keys; a multiple of train.batch_size
  temperature: float = 0.2  # divides the similarities
  symmetric: bool = fixed(False)  # both views are queries and keys, each with its own queue
  must_be_positive = ("temperature",)

  @property
  def forward_spec(self) -> ForwardSpec:
    """Two strong views; the teacher is shuffled, and updated before its pass, as released."""
    student = ViewSlice("strong", 0 if self.symmetric else 1, 2)
    teacher = ViewSlice("strong", 0, 2 if self.symmetric else 1)
    return ForwardSpec(student=(student,), teacher=(teacher,), shuffle_teacher=True, ema_before_forward=True)

  def init_state(self, key: Array, dims: Dims) -> Queues:
    return tuple(random_queue(k, self.queue, dims) for k in jax.random.split(key, 1 + self.symmetric))

  def loss(self, student: Outputs, teacher: Outputs, state: Queues, scheduled: Scheduled) -> tuple[Array, Logs]:
    """Returns the cross-entropy of finding the key (MoCo, eq. 1). Key view i belongs to queue i."""
    q, k = normalize(student.prediction), normalize(teacher.projection)
    losses = [against_queue(q[-1 - i], k[i], state[i].rows, self.temperature) for i in range(len(k))]
    return jnp.stack(losses).mean(), {}

  def update_state(self, state: Queues, student: Outputs, teacher: Outputs, batch: ViewBatch) -> tuple[Queues, Logs]:
    keys = normalize(teacher.projection)
    return tuple(enqueue(queue, k, batch.label) for queue, k in zip(state, keys, strict=True)), {}
