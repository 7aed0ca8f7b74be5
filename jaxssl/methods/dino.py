"""DINO, the self-distillation that AdaSim bootstraps (arXiv 2104.14294; AdaSim: arXiv 2303.13606)."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from jaxssl.config.schedules import Schedule
from jaxssl.core.types import Array, Logs, Outputs, ViewBatch, struct
from jaxssl.losses.distillation import cross_view_entropy, entropy
from jaxssl.losses.sinkhorn import assign
from jaxssl.methods.base import Dims, ForwardSpec, ViewSlice, require_positive


@struct
class Memory:
  """The running mean of the teacher's logits."""

  center: Array  # float32 [d]


SINKHORN_ITERATIONS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class DINO:
  """The student network's softmax over prototypes mimics the teacher's centerd, sharpened one, across views.

  `centering` keeps the teacher from using few prototypes: `mean` subtracts the running mean of its logits; `sinkhorn` shares
  each batch equally among the prototypes (as SwAV does, arXiv 2006.09882, and DINOv2, arXiv 2304.07193).
  """

  teacher_momentum: Schedule
  teacher_temperature: Schedule
  student_temperature: float = 0.1
  centering: Literal["mean", "sinkhorn"] = "mean"
  center_momentum: float = 0.9
  forward_spec: ForwardSpec = dataclasses.field(
    default=ForwardSpec(
      student=(ViewSlice("global"),), teacher=(ViewSlice("global"),), optional=(ViewSlice("local"),), joint=True
    ),
    init=False,
  )

  def __post_init__(self) -> None:
    require_positive(student_temperature=self.student_temperature)

  def init_memory(self, key: Array, dims: Dims) -> Memory:
    """Starts with a center of zeros."""
    return Memory(center=jnp.zeros(dims.projection))

  def loss(self, student: Outputs, teacher: Outputs | None, memory: Memory, step: Array) -> tuple[Array, Logs]:
    """Takes the cross-entropy of every student view against every other view of the teacher (DINO, eq. 3)."""
    assert teacher is not None
    temperature = self.teacher_temperature(step)
    logits = teacher.projection
    if self.centering == "sinkhorn":
      targets = assign(logits.reshape(-1, logits.shape[-1]), temperature, SINKHORN_ITERATIONS).reshape(logits.shape)
    else:
      targets = jax.lax.stop_gradient(jax.nn.softmax((logits - memory.center[None, None]) / temperature, axis=-1))
    loss = cross_view_entropy(targets, student.prediction / self.student_temperature)
    return loss, {"teacher_entropy": entropy(targets), "prototypes_used": jnp.exp(entropy(targets.mean((0, 1))))}

  def remember(self, memory: Memory, student: Outputs, teacher: Outputs | None, batch: ViewBatch) -> tuple[Memory, Logs]:
    """Moves the center towards the mean of the teacher's raw logits (DINO, eq. 4)."""
    assert teacher is not None
    mean = teacher.projection.mean((0, 1))
    return Memory(center=self.center_momentum * memory.center + (1 - self.center_momentum) * mean), {}
