"""DINO, the self-distillation that AdaSim bootstraps (arXiv 2104.14294; AdaSim: arXiv 2303.13606)."""

from typing import Literal

import jax
import jax.numpy as jnp

from jaxssl.config.schedules import ScheduleConfig
from jaxssl.core.types import Array, Logs, Outputs, ViewBatch, struct
from jaxssl.losses.distillation import cross_view_entropy, entropy
from jaxssl.losses.sinkhorn import assign
from jaxssl.methods.base import Dims, ForwardSpec, Scheduled, TeacherMethod, ViewSlice, register

SINKHORN_ITERATIONS = 3


@struct
class Center:
  """The running mean of the teacher's logits."""

  center: Array  # float32 [d]


@register("dino")
class DINO(TeacherMethod):
  """The student's softmax over prototypes mimics the teacher's centered and sharpened one, across views.

  `centering` prevents the teacher from using few prototypes: `mean` subtracts the running mean of its logits; `sinkhorn`
  assigns each batch equally to the prototypes (as SwAV, arXiv 2006.09882, and DINOv2, arXiv 2304.07193, do).
  """

  teacher_temperature: ScheduleConfig  # divides the teacher's logits
  student_temperature: float = 0.1  # divides the student's logits
  centering: Literal["mean", "sinkhorn"] = "mean"  # mean: subtract the running mean; sinkhorn: use prototypes equally
  center_momentum: float = 0.9  # mean: share of the running mean that is kept at each step
  forward_spec = ForwardSpec(
    student=(ViewSlice("global"),), teacher=(ViewSlice("global"),), optional=(ViewSlice("local"),), joint=True, views=2
  )
  must_be_positive = ("student_temperature", "teacher_temperature")
  shares = ("center_momentum",)

  def init_state(self, key: Array, dims: Dims) -> Center:
    return Center(center=jnp.zeros(dims.projection))

  def loss(self, student: Outputs, teacher: Outputs, state: Center, scheduled: Scheduled) -> tuple[Array, Logs]:
    """Returns the cross-entropy of every student view against every other view of the teacher (DINO, eq. 3)."""
    temperature, logits = scheduled["teacher_temperature"], teacher.projection
    if self.centering == "sinkhorn":
      targets = assign(logits.reshape(-1, logits.shape[-1]), temperature, SINKHORN_ITERATIONS).reshape(logits.shape)
    else:
      targets = jax.lax.stop_gradient(jax.nn.softmax((logits - state.center[None, None]) / temperature, axis=-1))
    loss = cross_view_entropy(targets, student.prediction / self.student_temperature)
    return loss, {"teacher_entropy": entropy(targets), "prototypes_used": jnp.exp(entropy(targets.mean((0, 1))))}

  def update_state(self, state: Center, student: Outputs, teacher: Outputs, batch: ViewBatch) -> tuple[Center, Logs]:
    """Moves the center toward the mean of the teacher's raw logits (DINO, eq. 4)."""
    mean = teacher.projection.mean((0, 1))
    return Center(center=self.center_momentum * state.center + (1 - self.center_momentum) * mean), {}
