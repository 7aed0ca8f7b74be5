"""Draws small charts of all logged metrics, of one run or of several runs together."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from jaxssl.core.metric import GROUPS, Metric
from jaxssl.report import charts
from jaxssl.report.charts import COLORS, Curve
from jaxssl.report.text import escape
from jaxssl.workdir.records import RunRecord, Series

LEVELS = {  # baseline -> color and style
  "untrained": ("#555555", "dashed"),
  "imported": ("#555555", "dashed"),
  "raw_pixels": ("#A0522D", "dotted"),
}


def section(records: Sequence[RunRecord]) -> str:
  """Returns all charts; each of several runs has its own color."""
  series = [record.series() for record in records]
  groups: dict[str, dict[str, list[Metric]]] = {}  # by group and chart
  for metric in defined(records, dict.fromkeys(name for by_name in series for name in by_name)):
    # Single points without a level are in the tables.
    if _levels(metric.name, records) or any(len(by_name[metric.name].x) > 1 for by_name in series if metric.name in by_name):
      shared = metric.chart if len(records) == 1 else ""
      groups.setdefault(metric.group, {}).setdefault(shared or metric.name, []).append(metric)
  text = ""
  for title, metrics_of in groups.items():
    figures = "".join(_chart(metrics, records, series) for metrics in metrics_of.values())
    text += f'<h3>{escape(title)}</h3><div class="charts">{figures}</div>'
  return text or f"<p>{records[0].workdir.metrics.name} has no metrics yet.</p>"


def defined(records: Sequence[RunRecord], names: Collection[str]) -> list[Metric]:
  """Returns the definitions of metrics, each from the first run that has it, by group, other groups than GROUPS last."""
  known = {name: metric for record in reversed(records) for name, metric in record.metrics.items()}
  metrics = [known.get(name) or records[0].metric(name) for name in dict.fromkeys([*known, *names]) if name in names]
  return sorted(metrics, key=lambda metric: [*GROUPS, metric.group].index(metric.group))


def _chart(metrics: Sequence[Metric], records: Sequence[RunRecord], series: Sequence[Mapping[str, Series]]) -> str:
  lines, first, several = [], metrics[0], len(metrics) > 1
  for place, metric in enumerate(metrics):
    for i, (record, by_name) in enumerate(zip(records, series, strict=True)):
      if metric.name in by_name:
        label = metric.title if several else record.name
        lines.append(Curve(label, by_name[metric.name].x, by_name[metric.name].y, COLORS[(i + place) % len(COLORS)]))
  ends = np.array([0, max(line.x[-1] for line in lines)])
  levels = _levels(first.name, records)
  dashed = [Curve(level.replace("_", " "), ends, np.full(2, value), *LEVELS[level]) for level, value in levels.items()]
  units = {record.unit for record in records}
  scale = "zero" if first.group in ("Bootstrapping", "Speed") else "free"
  draw = charts.lines([*dashed, *lines], units.pop() if len(units) == 1 else "epochs or steps", scale)
  legend = [*(lines if several or len(records) > 1 else []), *dashed]
  text = " ".join(dict.fromkeys(metric.description for metric in metrics))
  return charts.figure(first.chart if several else first.title, draw, legend, text, ", ".join(m.name for m in metrics))


def _levels(name: str, records: Sequence[RunRecord]) -> dict[str, float]:
  """Returns the values of the baselines on which all runs agree."""
  levels = [record.baselines(name) for record in records]
  return {
    level: value for level, value in levels[0].items() if all(np.isclose(other.get(level, np.nan), value) for other in levels)
  }
