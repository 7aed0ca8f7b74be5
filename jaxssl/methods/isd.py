"""ISD: the student mimics the teacher's soft similarities to a queue of other images (arXiv 2012.09259)."""

import dataclasses

import jax
import jax.numpy as jnp

from jaxssl.config.schedules import Schedule
from jaxssl.core.types import Array, Logs, Outputs, ViewBatch
from jaxssl.losses.distillation import kl_divergence
from jaxssl.methods.base import Dims, ForwardSpec, Strength, pair, require_multiple, require_positive
from jaxssl.methods.queue import Queue, enqueue, random_queue
from jaxssl.ops.nearest import dot, normalize

PURITY_NEIGHBORS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class ISD:
  """KL between the two networks' softmaxed similarities to the queue, in which the batch's own keys are not yet.

  ISD+ differs by its two temperatures, its heads and its views: teacher weak, student strong.
  """

  teacher_momentum: Schedule
  queue: int = 128_000
  student_temperature: float = 0.02
  teacher_temperature: float = 0.02
  student_view: Strength = "strong"
  teacher_view: Strength = "strong"

  def __post_init__(self) -> None:
    require_positive(student_temperature=self.student_temperature, teacher_temperature=self.teacher_temperature)

  @property
  def forward_spec(self) -> ForwardSpec:
    """One view each; the teacher moves before its pass, as released."""
    return pair(self.student_view, self.teacher_view, ema_before_forward=True)

  def init_memory(self, key: Array, dims: Dims) -> Queue:
    """Starts with random unit rows."""
    require_multiple(self.queue, dims.batch)
    return random_queue(key, self.queue, dims.projection)

  def loss(self, student: Outputs, teacher: Outputs | None, memory: Queue, step: Array) -> tuple[Array, Logs]:
    """Mean over the batch of KL(teacher || student) (ISD, eq. 1-3)."""
    assert teacher is not None
    target = dot(normalize(teacher.projection[0]), memory.rows) / self.teacher_temperature
    return kl_divergence(target, dot(normalize(student.prediction[0]), memory.rows) / self.student_temperature), {}

  def remember(self, memory: Queue, student: Outputs, teacher: Outputs | None, batch: ViewBatch) -> tuple[Queue, Logs]:
    """Puts the teacher's keys into the queue. `purity`: share of their 5 nearest queue rows with the image's label."""
    assert teacher is not None
    keys = normalize(teacher.projection[0])
    return enqueue(memory, keys, batch.label), {"purity": purity(memory, keys, batch.label, PURITY_NEIGHBORS)}


def purity(queue: Queue, keys: Array, labels: Array, k: int) -> Array:
  """Share of the k nearest queue rows of each key [b, d] that carry its label, over images with a known one (NaN: none).

  A queue of fewer rows counts them all.
  """
  _, nearest = jax.lax.top_k(dot(keys, queue.rows), min(k, len(queue.rows)))
  same = jnp.mean(queue.labels[nearest] == labels[:, None], axis=-1)
  return jnp.mean(same, where=labels >= 0)
