"""ISD: the student mimics the teacher's soft similarities to a queue of other images (arXiv 2012.09259)."""

import dataclasses

import jax
import jax.numpy as jnp

from jaxssl.config.schedules import ScheduleConfig
from jaxssl.core.types import Array, Logs, Outputs, ViewBatch
from jaxssl.losses.distillation import kl_divergence
from jaxssl.methods.base import (
  Dims,
  ForwardSpec,
  Scheduled,
  SSLMethod,
  Strength,
  one_view_each,
  register,
  require_multiple,
  require_positive,
)
from jaxssl.methods.queue import Queue, enqueue, random_queue
from jaxssl.ops.nearest import dot, normalize

PURITY_NEIGHBORS = 5


@register("isd")
@dataclasses.dataclass(frozen=True, kw_only=True)
class ISD(SSLMethod):
  """KL divergence between both networks' softmax similarities to the queue, which does not hold the batch's own keys yet.

  ISD+ differs in its two temperatures, its heads and its views: teacher weak, student strong.
  """

  teacher_momentum: ScheduleConfig  # share of the teacher that is kept at each step of the EMA
  queue: int = 128_000  # past teacher projections that are compared with; a multiple of train.batch_size
  student_temperature: float = 0.02  # divides the student's similarities
  teacher_temperature: float = 0.02  # divides the teacher's similarities
  student_view: Strength = "strong"  # augmentation of the student's view
  teacher_view: Strength = "strong"  # augmentation of the teacher's view

  def __post_init__(self) -> None:
    require_positive(student_temperature=self.student_temperature, teacher_temperature=self.teacher_temperature)

  @property
  def forward_spec(self) -> ForwardSpec:
    """One view for each network; the teacher is updated before its pass, as released."""
    return one_view_each(self.student_view, self.teacher_view)

  def init_state(self, key: Array, dims: Dims) -> Queue:
    """Starts with random unit rows."""
    require_multiple(self.queue, dims.batch)
    return random_queue(key, self.queue, dims.projection)

  def loss(self, student: Outputs, teacher: Outputs, state: Queue, scheduled: Scheduled) -> tuple[Array, Logs]:
    """Returns KL(teacher || student), averaged over the batch (ISD, eq. 1-3)."""
    target = dot(normalize(teacher.projection[0]), state.rows) / self.teacher_temperature
    return kl_divergence(target, dot(normalize(student.prediction[0]), state.rows) / self.student_temperature), {}

  def update_state(self, state: Queue, student: Outputs, teacher: Outputs, batch: ViewBatch) -> tuple[Queue, Logs]:
    """Enqueues the teacher's keys. `purity`: share of their 5 nearest queue rows with the image's label."""
    keys = normalize(teacher.projection[0])
    return enqueue(state, keys, batch.label), {"purity": purity(state, keys, batch.label, PURITY_NEIGHBORS)}


def purity(queue: Queue, keys: Array, labels: Array, k: int) -> Array:
  """Returns the share of the k nearest queue rows of each key that carry its label, over images with a known one (NaN: none).

  keys: float32 [b, d]; labels: int32 [b], -1 unknown. All rows count if the queue has fewer than k.
  """
  _, nearest = jax.lax.top_k(dot(keys, queue.rows), min(k, len(queue.rows)))
  same = jnp.mean(queue.labels[nearest] == labels[:, None], axis=-1)
  return jnp.mean(same, where=labels >= 0)
