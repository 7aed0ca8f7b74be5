"""ReSA: the encoder's own output, made an assignment by Sinkhorn, guides the embeddings (arXiv 2501.18452)."""

import dataclasses

import jax.numpy as jnp

from jaxssl.config.schedules import Schedule
from jaxssl.core.types import Array, Logs, Outputs
from jaxssl.losses.distillation import cross_entropy
from jaxssl.losses.sinkhorn import assign
from jaxssl.methods.base import Dims, ForwardSpec, ViewSlice, remember_nothing, require_negatives, require_positive
from jaxssl.ops.nearest import dot, normalize

ASSIGNMENT_TEMPERATURE = 0.05
SINKHORN_ITERATIONS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReSA:
  """Every student view's similarities to the teacher's embeddings of another view follow one assignment of the batch."""

  teacher_momentum: Schedule
  temperature: float = 0.4
  forward_spec: ForwardSpec = dataclasses.field(
    default=ForwardSpec(
      student=(ViewSlice("weak", 0, 1), ViewSlice("strong")),
      teacher=(ViewSlice("weak", 0, 1), ViewSlice("strong", 0, 1)),
      ema_before_forward=True,
    ),
    init=False,
  )

  def __post_init__(self) -> None:
    require_positive(temperature=self.temperature)

  def init_memory(self, key: Array, dims: Dims) -> None:
    """Remembers nothing."""
    require_negatives(dims.batch)

  def loss(self, student: Outputs, teacher: Outputs | None, memory: None, step: Array) -> tuple[Array, Logs]:
    """Mean over pairs of an student view and another teacher view of the cross-entropy with the assignment (ReSA, eq. 4-6).

    The assignment comes from both encoders' outputs for view 0, the weak one.
    """
    assert teacher is not None
    scores = dot(normalize(student.features[0]), normalize(teacher.features[0]))
    targets = assign(scores, ASSIGNMENT_TEMPERATURE, SINKHORN_ITERATIONS)
    queries, keys = normalize(student.prediction), normalize(teacher.projection)
    pairs = [(q, v) for q in range(len(queries)) for v in range(len(keys)) if q != v]
    losses = [cross_entropy(targets, dot(queries[q], keys[v]) / self.temperature) for q, v in pairs]
    return jnp.stack(losses).mean(), {}

  remember = staticmethod(remember_nothing)
