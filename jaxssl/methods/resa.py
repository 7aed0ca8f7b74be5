"""ReSA: the encoder's own output, turned into an assignment by Sinkhorn, guides the embeddings (arXiv 2501.18452)."""

import jax.numpy as jnp

from jaxssl.core.types import Array, Logs, Outputs
from jaxssl.losses.distillation import cross_entropy
from jaxssl.losses.sinkhorn import assign
from jaxssl.methods.base import ForwardSpec, Scheduled, TeacherMethod, ViewSlice, register
from jaxssl.ops.nearest import dot, normalize

ASSIGNMENT_TEMPERATURE = 0.05
SINKHORN_ITERATIONS = 3


@register("resa")
class ReSA(TeacherMethod):
  """Every student view's similarities to the teacher's embeddings of another view follow one assignment of the batch."""

  temperature: float = 0.4  # divides the similarities
  forward_spec = ForwardSpec(
    student=(ViewSlice("weak", 0, 1), ViewSlice("strong")),
    teacher=(ViewSlice("weak", 0, 1), ViewSlice("strong", 0, 1)),
    optional=(ViewSlice("local"),),
    ema_before_forward=True,
  )
  needs_negatives = True
  must_be_positive = ("temperature",)

  def loss(self, student: Outputs, teacher: Outputs, state: None, scheduled: Scheduled) -> tuple[Array, Logs]:
    """Returns the cross-entropy with the assignment, averaged over pairs of a student view and another teacher view.

    The assignment comes from both encoders' features of view 0, the weak one (ReSA, eq. 4-6), for small views as well.
    """
    scores = dot(normalize(student.features[0]), normalize(teacher.features[0]))
    targets = assign(scores, ASSIGNMENT_TEMPERATURE, SINKHORN_ITERATIONS)
    queries, keys = normalize(student.prediction), normalize(teacher.projection)
    pairs = [(q, v) for q in range(len(queries)) for v in range(len(keys)) if q != v]
    losses = [cross_entropy(targets, dot(queries[q], keys[v]) / self.temperature) for q, v in pairs]
    return jnp.stack(losses).mean(), {}
