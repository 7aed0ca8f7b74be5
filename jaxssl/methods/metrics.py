"""Metrics that the losses and updates of methods return."""

from jaxssl.core.metric import Metric

METRICS = (
  Metric("teacher_entropy", "Teacher entropy", "Of the teacher's targets. 0 or the maximum: collapse.", unit="nats"),
  Metric("prototypes_used", "Prototypes used", "How many prototypes the teacher's targets use. Near 1: collapse."),
  Metric("purity", "Purity of the queue", "Share of the nearest keys that have the image's class.", higher_is_better=True),
)
