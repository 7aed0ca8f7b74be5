"""Draws small charts of all logged metrics, of one run or of several runs together."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxssl.core.metric import GROUPS, Metric
from jaxssl.report import charts
from jaxssl.report.charts import COLORS, LEVELS, Curve
from jaxssl.report.text import group, rank
from jaxssl.workdir.records import RunRecord, Series


def section(records: Sequence[RunRecord]) -> str:
  """Returns all charts; each of several runs has its own color."""
  series = [record.series() for record in records]
  text = ""
  for title in GROUPS:
    charted: dict[str, list[Metric]] = {}
    for metric in defined(records, [name for by_name in series for name in by_name]):
      # Single points without a level are in the tables.
      curves = [by_name[metric.name] for by_name in series if metric.name in by_name]
      drawable = _levels(metric.name, records) or any(len(curve.x) > 1 for curve in curves)
      if group(metric) == title and drawable:
        shared = metric.chart if len(records) == 1 else ""
        charted.setdefault(shared or metric.name, []).append(metric)
    figures = "".join(_chart(metrics, records, series) for metrics in charted.values())
    text += f'<h3>{title}</h3><div class="charts">{figures}</div>' if figures else ""
  return text or f"<p>{records[0].workdir.metrics.name} has no metrics yet.</p>"


def defined(records: Sequence[RunRecord], names: Sequence[str]) -> list[Metric]:
  """Returns the definitions of metrics, each from the first run that has it, in display order."""
  known = {name: metric for record in reversed(records) for name, metric in record.metrics.items()}
  return sorted((known.get(name) or records[0].metric(name) for name in dict.fromkeys(names)), key=lambda m: rank(m, known))


def _chart(metrics: Sequence[Metric], records: Sequence[RunRecord], series: Sequence[Mapping[str, Series]]) -> str:
  lines, first, several = [], metrics[0], len(metrics) > 1
  for place, metric in enumerate(metrics):
    for i, (record, by_name) in enumerate(zip(records, series, strict=True)):
      if metric.name in by_name:
        label = metric.title if several else record.name
        lines.append(Curve(label, by_name[metric.name].x, by_name[metric.name].y, COLORS[(i + place) % len(COLORS)]))
  levels = _levels(first.name, records)
  keys = "".join(charts.key(line.color, line.label) for line in lines) if several or len(records) > 1 else ""
  keys += "".join(charts.key(LEVELS[level], level.replace("_", " "), level) for level in levels)
  units = {record.unit for record in records}
  scale = "zero" if group(first) in ("Bootstrapping", "Speed") else "free"
  draw = charts.curves(lines, units.pop() if len(units) == 1 else "epochs or steps", levels, scale)
  text = " ".join(dict.fromkeys(metric.description for metric in metrics))
  return charts.figure(first.chart if several else first.title, draw, keys, text, ", ".join(m.name for m in metrics))


def _levels(name: str, records: Sequence[RunRecord]) -> dict[str, float]:
  """Returns the values of the baselines on which all runs agree."""
  levels = [record.baselines(name) for record in records]
  return {
    level: value for level, value in levels[0].items() if all(np.isclose(other.get(level, np.nan), value) for other in levels)
  }
