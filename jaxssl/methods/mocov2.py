"""MoCo v2: find an image's key among a queue of past keys (arXiv 1911.05722, 2003.04297)."""

import dataclasses

import jax
import jax.numpy as jnp

from jaxssl.config.schedules import Schedule
from jaxssl.core.types import Array, Logs, Outputs, ViewBatch
from jaxssl.losses.contrastive import against_queue
from jaxssl.methods.base import Dims, ForwardSpec, ViewSlice, pair, require_multiple, require_positive
from jaxssl.methods.queue import Queue, enqueue, random_queue
from jaxssl.ops.nearest import normalize


@dataclasses.dataclass(frozen=True, kw_only=True)
class MoCoV2:
  """One queue and one direction; `symmetric`: both directions, each with a queue of its own, averaged."""

  teacher_momentum: Schedule
  queue: int = 65_536
  temperature: float = 0.2
  symmetric: bool = False

  def __post_init__(self) -> None:
    require_positive(temperature=self.temperature)

  @property
  def forward_spec(self) -> ForwardSpec:
    """Two strong views; the teacher moves before its pass, as released."""
    both = (ViewSlice("strong", 0, 2),)
    return (
      ForwardSpec(student=both, teacher=both, ema_before_forward=True) if self.symmetric else pair("strong", "strong", True)
    )

  def init_memory(self, key: Array, dims: Dims) -> tuple[Queue, ...]:
    """Starts with random unit rows."""
    require_multiple(self.queue, dims.batch)
    keys = jax.random.split(key, 1 + self.symmetric)
    return tuple(random_queue(k, self.queue, dims.projection) for k in keys)

  def loss(self, student: Outputs, teacher: Outputs | None, memory: tuple[Queue, ...], step: Array) -> tuple[Array, Logs]:
    """Cross-entropy of finding the key (MoCo, eq. 1). Key view i belongs to queue i."""
    assert teacher is not None
    q, k = normalize(student.prediction), normalize(teacher.projection)
    views = range(len(k))
    losses = [against_queue(q[-1 - i], k[i], memory[i].rows, self.temperature) for i in views]
    return jnp.stack(losses).mean(), {}

  def remember(
    self, memory: tuple[Queue, ...], student: Outputs, teacher: Outputs | None, batch: ViewBatch
  ) -> tuple[tuple[Queue, ...], Logs]:
    """Puts each view's keys into its queue."""
    assert teacher is not None
    keys = normalize(teacher.projection)
    return tuple(enqueue(queue, k, batch.label) for queue, k in zip(memory, keys, strict=True)), {}
