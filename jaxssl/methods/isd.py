"""ISD: the student mimics the teacher's soft similarities to a queue of other images (arXiv 2012.09259)."""

import dataclasses

import jax
import jax.numpy as jnp

from jaxssl import memory as memories
from jaxssl.memory import Queue
from jaxssl.methods.base import Dims, Passes, Strength, pair, require_multiple, require_positive
from jaxssl.ops.distillation import divergence
from jaxssl.ops.similarity import inner, normalize
from jaxssl.schedules import Schedule
from jaxssl.types import Array, Batch, Logs, Outputs

PURITY_NEIGHBORS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Isd:
  """KL between the two networks' softmaxed similarities to the queue, in which the batch's own keys are not yet.

  ISD+ differs by its two temperatures, its heads and its views: teacher weak, student strong.
  """

  momentum: Schedule
  queue: int = 128_000
  student_temperature: float = 0.02
  teacher_temperature: float = 0.02
  student_view: Strength = "strong"
  teacher_view: Strength = "strong"

  def __post_init__(self) -> None:
    require_positive(student_temperature=self.student_temperature, teacher_temperature=self.teacher_temperature)

  @property
  def passes(self) -> Passes:
    """One view each; the teacher moves before its pass, as released."""
    return pair(self.student_view, self.teacher_view, average_first=True)

  def init_memory(self, key: Array, dims: Dims) -> Queue:
    """Starts with random unit rows."""
    require_multiple(self.queue, dims.batch)
    return memories.random_queue(key, self.queue, dims.projection)

  def loss(self, online: Outputs, teacher: Outputs | None, memory: Queue, step: Array) -> tuple[Array, Logs]:
    """Mean over the batch of KL(teacher || student) (ISD, eq. 1-3)."""
    assert teacher is not None
    target = inner(normalize(teacher.projection[0]), memory.rows) / self.teacher_temperature
    return divergence(target, inner(normalize(online.prediction[0]), memory.rows) / self.student_temperature), {}

  def remember(self, memory: Queue, online: Outputs, teacher: Outputs | None, batch: Batch) -> tuple[Queue, Logs]:
    """Puts the teacher's keys into the queue. `purity`: share of their 5 nearest queue rows with the image's label."""
    assert teacher is not None
    keys = normalize(teacher.projection[0])
    return memories.enqueue(memory, keys, batch.label), {"purity": purity(memory, keys, batch.label, PURITY_NEIGHBORS)}


def purity(queue: Queue, keys: Array, labels: Array, k: int) -> Array:
  """Share of the k nearest queue rows of each key [b, d] that carry its label, over images with a known one (NaN: none).

  A queue of fewer rows counts them all.
  """
  _, nearest = jax.lax.top_k(inner(keys, queue.rows), min(k, len(queue.rows)))
  same = jnp.mean(queue.labels[nearest] == labels[:, None], axis=-1)
  return jnp.mean(same, where=labels >= 0)
