"""ISD: the student mimics the teacher's soft similarities to a queue of other images (arXiv 2012.09259)."""

from jaxssl.config.roles import fixed
from jaxssl.core.types import Array, Logs, Outputs, ViewBatch
from jaxssl.losses.distillation import kl_divergence
from jaxssl.methods.base import Dims, OneViewMethod, Scheduled, register
from jaxssl.methods.queue import Queue, enqueue, purity, random_queue
from jaxssl.ops.nearest import dot, normalize, top_k_of_rows


@register("isd")
class ISD(OneViewMethod):
  """KL divergence between both networks' softmax similarities to the queue, which does not hold the batch's own keys yet.

  ISD+ differs in its two temperatures, its heads and its views: teacher weak, student strong.
  """

  queue: int = fixed(128_000)  # past teacher projections that are compared with; a multiple of train.batch_size
  student_temperature: float = 0.02  # divides the student's similarities
  teacher_temperature: float = 0.02  # divides the teacher's similarities
  must_be_positive = ("student_temperature", "teacher_temperature")

  def init_state(self, key: Array, dims: Dims) -> Queue:
    return random_queue(key, self.queue, dims)

  def loss(self, student: Outputs, teacher: Outputs, state: Queue, scheduled: Scheduled) -> tuple[Array, Logs]:
    """Returns KL(teacher || student), averaged over the batch (ISD, eq. 1-3)."""
    target = dot(normalize(teacher.projection[0]), state.rows) / self.teacher_temperature
    return kl_divergence(target, dot(normalize(student.prediction[0]), state.rows) / self.student_temperature), {}

  def update_state(self, state: Queue, student: Outputs, teacher: Outputs, batch: ViewBatch) -> tuple[Queue, Logs]:
    """Enqueues the teacher's keys. `purity`: share of their 5 nearest queue rows with the image's label."""
    keys = normalize(teacher.projection[0])
    nearest = top_k_of_rows(dot(keys, state.rows), min(5, len(state.rows)))
    return enqueue(state, keys, batch.label), {"purity": purity(state, nearest, batch.label)}
