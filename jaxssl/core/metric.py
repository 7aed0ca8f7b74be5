"""Metrics, each declared once beside the code that computes it, and their measurements."""

import dataclasses
from collections.abc import Mapping

Scalar = str | int | float | bool
GROUPS = ("Accuracy", "Features", "Training", "Schedules", "Bootstrapping", "Speed")  # sections of a report, in order
_TAGS = {"Training": "Train", "Accuracy": "Evaluation"}  # group -> the first part of `tag`, where it differs
BASELINES = ("untrained", "imported", "raw_pixels")  # subjects that a run is compared with; it has one of the first two


@dataclasses.dataclass(frozen=True)
class Metric:
  """Describes a number for tables, charts and reports."""

  name: str  # as in metrics.jsonl: letters, digits and _
  title: str
  description: str = ""  # one or two sentences for a reader who is new to self-supervised learning
  group: str = "Training"  # one of GROUPS
  _: dataclasses.KW_ONLY
  unit: str = ""  # "%", "nats", ...; empty: none
  higher_is_better: bool | None = None  # None: neither
  chart: str = ""  # metrics with the same text here share a chart, which has it as its title

  @property
  def tag(self) -> str:
    """The name by which TensorBoard and other trackers group the metric: Train/loss, Evaluation/knn20_cosine."""
    return f"{_TAGS.get(self.group, self.group)}/{self.name}"

  def variant(self, suffix: str, title: str) -> "Metric":
    """Returns the same metric of a part of the data: NAME_SUFFIX, "TITLE, title"."""
    return dataclasses.replace(self, name=f"{self.name}_{suffix}", title=f"{self.title}, {title}" if title else self.title)


def accuracy_metric(name: str, title: str, description: str) -> Metric:
  """Returns a metric in percent that is better if higher."""
  return Metric(name, title, description, "Accuracy", unit="%", higher_is_better=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
  """One value of a metric. Two values are comparable if metric and protocol are the same."""

  metric: Metric
  value: float
  subject: str  # whose features: teacher, student, untrained, imported, raw_pixels; or neighbor_bank
  protocol: Mapping[str, Scalar]  # all that defines the measurement
  chosen: Mapping[str, Scalar] = dataclasses.field(default_factory=dict)  # what the protocol selected, such as a penalty
  std: float | None = None  # sample standard deviation over draws, or over seeds; None: there was one
  seeds: int = 1  # over which a baseline was measured: `value` is their mean, and `std` their deviation
  evaluation: str = ""  # the name of the evaluation that made it; filled in by the evaluator

  @property
  def name(self) -> str:
    """The name of the metric."""
    return self.metric.name

  @property
  def flat_name(self) -> str:
    """The name in metrics.jsonl: those of baselines start with the subject, as untrained/knn20_cosine."""
    return f"{self.subject}/{self.name}" if self.subject in BASELINES else self.name

  @property
  def tag(self) -> str:
    """The name in TensorBoard and other trackers: Evaluation/knn20_cosine, Evaluation/untrained/knn20_cosine."""
    group, _, name = self.metric.tag.partition("/")
    return f"{group}/{self.subject}/{name}" if self.subject in BASELINES else self.metric.tag


def protocol_text(fields: Mapping[str, Scalar]) -> str:
  """Renders a protocol, or what it chose, for a reader: "k 20, similarity cosine"."""
  texts = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in fields.items()}
  return ", ".join(f"{name.replace('_', ' ')} {text}" for name, text in texts.items())
