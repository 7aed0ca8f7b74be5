"""Reads a run's records from its workdir, without its images or weights."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxssl.core import UserError, json_io
from jaxssl.core.metric import BASELINES, Metric
from jaxssl.workdir import results
from jaxssl.workdir.results import protocol_key
from jaxssl.workdir.workdir import Workdir


class Baseline(NamedTuple):
  """The value of a baseline, the mean over seeds if there are several."""

  value: float | None  # None: not finite
  std: float | None = None
  seeds: int = 1

  def __str__(self) -> str:
    """Returns the value as text: 43.50 ± 6.00 (3 seeds)."""
    if self.value is None:
      return "not finite"
    deviation = "" if self.std is None else f" ± {self.std:.2f}"
    return f"{self.value:.2f}{deviation}" + (f" ({self.seeds} seeds)" if self.seeds > 1 else "")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Final(results.Stored):
  """The last value of one metric by one protocol, and those of the baselines by the same protocol."""

  metric: Metric
  baselines: Mapping[str, Baseline]  # by subject; empty for a metric of which neither higher nor lower is better

  def __str__(self) -> str:
    """Returns the value and those of the baselines: knn20_cosine 95.60; untrained 81.40 ± 2.00 (3 seeds); raw pixels 94.70."""
    baselines = (f"{subject.replace('_', ' ')} {level}" for subject, level in self.baselines.items())
    return "; ".join([f"{self.name} {Baseline(self.value, self.std)}", *baselines])


class Series(NamedTuple):
  """One metric over a run."""

  x: np.ndarray  # epochs, or steps
  y: np.ndarray


class RunRecord:
  """The contents of the files of one workdir. Raises UserError if it holds no run, or a file cannot be read."""

  def __init__(self, workdir: Workdir):
    self.workdir, self.name = workdir, workdir.folder.resolve().name
    self.config = workdir.read_config()
    for name, group in self.config.items():
      if name != "plugins" and not isinstance(group, dict):
        raise UserError(f"{workdir.config} cannot be read: {name}={group!r} is not a group of fields")
    self.history = workdir.history()  # changes of the config: step, field, from, to
    self.results = results.read(workdir.results)
    self.metrics = results.metrics_of(self.results)
    self._measurements = results.measurements_of(self.results)
    self.lines = json_io.lines(workdir.metrics)
    self.neighbors = json_io.lines(workdir.neighbors)
    self.alerts = json_io.lines(workdir.alerts) if workdir.alerts.exists() else None
    self.warnings = [line for line in workdir.log_lines() if re.match(r"\S+ \S+ (WARNING|ERROR) ", line)]
    self.finished = bool(self.results.get("finished"))
    self.step = max((line["step"] for line in self.lines), default=0)  # the last one that was logged
    # (step, epochs) of the lines that were written at the end of an epoch; epochs may have different lengths
    ends = (line for line in self.lines if line["step"] and json_io.count(line.get("epoch")) and "loss" not in line)
    self._ends = [(0, 0), *((line["step"], line["epoch"] + 1) for line in ends)]
    self.unit = "epochs" if len(self._ends) > 1 else "steps"  # of the x axis of `series`

  def metric(self, name: str) -> Metric:
    """Returns the definition of a metric; one that the run does not define has its name as title."""
    return self.metrics.get(name) or Metric(name=name, title=name.replace("_", " ").capitalize())

  def in_epochs(self, step: int) -> float | None:
    """Returns how many epochs a step completes; None if the run has not logged the end of an epoch."""
    if len(self._ends) == 1:
      return None
    after = next((k for k, (end, _) in enumerate(self._ends) if end >= step), len(self._ends) - 1) or 1
    (first, done), (last, epochs) = self._ends[after - 1 : after + 1]
    return done + (step - first) * (epochs - done) / max(last - first, 1)

  def series(self) -> dict[str, Series]:
    """Returns all metrics that were logged after step 0, by name, over epochs (or steps; see `unit`)."""
    points: dict[str, tuple[list[float], list[float]]] = {}
    for line in self.lines:
      for name, value in line.items():
        if name not in ("step", "epoch") and json_io.finite(value) is not None and line["step"]:
          x, y = points.setdefault(name, ([], []))
          x.append(self.in_epochs(line["step"]) or line["step"])
          y.append(value)
    return {name: Series(np.array(x), np.array(y)) for name, (x, y) in points.items()}

  def baselines(self, name: str) -> dict[str, float]:
    """Returns a metric's values without training, by subject; none if neither higher nor lower is better."""
    if self.metric(name).higher_is_better is None:
      return {}
    first = next((line for line in self.lines if not line["step"]), {})
    values = {subject: json_io.finite(first.get(f"{subject}/{name}")) for subject in BASELINES}
    final = next((final.baselines for final in self.finals() if final.name == name), {})
    values |= {subject: level.value for subject, level in final.items()}  # over several seeds
    return {subject: value for subject, value in values.items() if value is not None}

  @property
  def datasets(self) -> list[str]:
    """The names of other images that the run was evaluated on."""
    return list(dict.fromkeys(m["dataset"] for m in self._measurements if m["dataset"]))

  def finals(self, dataset: str = "") -> list[Final]:
    """Returns the last value of each metric by each protocol, in the order of results.json.

    dataset: the name of other images than those of the run. Baselines are given where a higher or a lower value is better:
    features of another dimension or spread, such as those of raw pixels, would mislead otherwise.
    """
    last: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}  # (name, protocol) -> subject -> measurement
    for m in self._measurements:
      if m["dataset"] != dataset:
        continue
      subjects = last.setdefault((m["name"], protocol_key(m["protocol"])), {})
      if m["step"] >= subjects.get(m["subject"], m)["step"]:
        subjects[m["subject"]] = m
    finals = []
    for (name, _), subjects in last.items():
      stored, metric = {subject: subjects.pop(subject) for subject in BASELINES if subject in subjects}, self.metric(name)
      comparable = stored if metric.higher_is_better is not None else {}
      baselines = {subject: Baseline(m["value"], m["std"], m["seeds"]) for subject, m in comparable.items()}
      finals += [Final(**m, metric=metric, baselines=baselines) for m in subjects.values()]
    return finals
