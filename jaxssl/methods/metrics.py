"""Metrics that the losses and updates of methods return."""

from jaxssl.core.metric import Metric

METRICS = (
  Metric(
    name="teacher_entropy",
    title="Teacher entropy",
    description="Mean entropy of the teacher's targets. At 0 or at the maximum: collapse.",
    unit="nats",
  ),
  Metric(
    name="prototypes_used",
    title="Prototypes used",
    description="How many prototypes the teacher's targets use. Near 1: collapse.",
  ),
  Metric(
    name="purity",
    title="Purity of the queue",
    description="Share of the nearest keys in the queue that have the image's class.",
    higher_is_better=True,
  ),
)
