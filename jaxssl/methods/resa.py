"""ReSA: the encoder's own output, made an assignment by Sinkhorn, guides the embeddings (arXiv 2501.18452)."""

import dataclasses

import jax.numpy as jnp

from jaxssl.methods.base import Dims, Passes, Views, remember_nothing, require_negatives, require_positive
from jaxssl.ops.distillation import assigned_entropy
from jaxssl.ops.similarity import inner, normalize
from jaxssl.ops.sinkhorn import assign
from jaxssl.schedules import Schedule
from jaxssl.types import Array, Logs, Outputs

ASSIGNMENT_TEMPERATURE = 0.05
SINKHORN_ITERATIONS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resa:
  """Every online view's similarities to the teacher's embeddings of another view follow one assignment of the batch."""

  momentum: Schedule
  temperature: float = 0.4
  passes: Passes = dataclasses.field(
    default=Passes(
      online=(Views("weak", 0, 1), Views("strong")), teacher=(Views("weak", 0, 1), Views("strong", 0, 1)), average_first=True
    ),
    init=False,
  )

  def __post_init__(self) -> None:
    require_positive(temperature=self.temperature)

  def init_memory(self, key: Array, dims: Dims) -> None:
    """Remembers nothing."""
    require_negatives(dims.batch)

  def loss(self, online: Outputs, teacher: Outputs | None, memory: None, step: Array) -> tuple[Array, Logs]:
    """Mean over pairs of an online view and another teacher view of the cross-entropy with the assignment (ReSA, eq. 4-6).

    The assignment comes from both encoders' outputs for view 0, the weak one.
    """
    assert teacher is not None
    scores = inner(normalize(online.features[0]), normalize(teacher.features[0]))
    targets = assign(scores, ASSIGNMENT_TEMPERATURE, SINKHORN_ITERATIONS)
    queries, keys = normalize(online.prediction), normalize(teacher.projection)
    pairs = [(q, v) for q in range(len(queries)) for v in range(len(keys)) if q != v]
    losses = [assigned_entropy(targets, inner(queries[q], keys[v]) / self.temperature) for q, v in pairs]
    return jnp.stack(losses).mean(), {}

  remember = staticmethod(remember_nothing)
