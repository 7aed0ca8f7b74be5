"""Small charts of everything that was logged over a run, or over several runs in the same charts."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxssl.core.metric import GROUPS, Metric
from jaxssl.report import charts
from jaxssl.report.charts import COLORS, LEVELS, Curve
from jaxssl.report.text import group, rank
from jaxssl.workdir.records import RunRecord, Series


def section(key: str, records: Sequence[RunRecord]) -> str:
  """Returns all charts; of several runs, each has its color."""
  series = [record.series() for record in records]
  metrics = defined(records, [name for of in series for name in of])
  text = ""
  for title in GROUPS:
    charted: dict[str, list[Metric]] = {}
    for metric in metrics:
      if group(metric) == title and _drawable(metric.name, records, series):
        shared = metric.chart if len(records) == 1 else ""
        charted.setdefault(shared or metric.name, []).append(metric)
    made = "".join(_chart(f"{key}-{some[0].name}", some, records, series) for some in charted.values())
    text += f'<h3>{title}</h3><div class="charts">{made}</div>' if made else ""
  return text or f"<p>{records[0].workdir.metrics.name} has no metrics yet.</p>"


def defined(records: Sequence[RunRecord], names: Sequence[str]) -> list[Metric]:
  """Returns the definitions of names, as the first run that has one defines it, in the order in which they are shown."""
  known = {name: metric for record in reversed(records) for name, metric in record.metrics.items()}
  return sorted((known.get(name) or records[0].metric(name) for name in dict.fromkeys(names)), key=lambda m: rank(m, known))


def _chart(key: str, metrics: Sequence[Metric], records: Sequence[RunRecord], series: Sequence[Mapping[str, Series]]) -> str:
  """Draws some metrics of one run, or one metric of several runs."""
  drawn = [(place, metric, i) for place, metric in enumerate(metrics) for i, of in enumerate(series) if metric.name in of]
  lines = [
    Curve(metric.name, series[i][metric.name].x, series[i][metric.name].y, COLORS[(i + place) % len(COLORS)])
    for place, metric, i in drawn
  ]
  keys, first = "", metrics[0]
  if len(metrics) > 1 or len(records) > 1:
    labels = [metric.title if len(metrics) > 1 else records[i].name for _, metric, i in drawn]
    keys = "".join(charts.key(line.color, label) for line, label in zip(lines, labels, strict=True))
  levels = _levels(first.name, records)
  keys += "".join(charts.key(LEVELS[of], of.replace("_", " "), of) for of in levels)
  title = first.chart if len(metrics) > 1 else first.title
  units = {record.unit for record in records}
  scale = "zero" if group(first) in ("Bootstrapping", "Speed") else "free"
  chart = charts.curves(charts.slug(key), title, lines, units.pop() if len(units) == 1 else "epochs or steps", levels, scale)
  text = " ".join(dict.fromkeys(metric.description for metric in metrics))
  return charts.figure(title, ", ".join(metric.name for metric in metrics), keys, chart, text)


def _drawable(name: str, records: Sequence[RunRecord], series: Sequence[Mapping[str, Series]]) -> bool:
  """Returns whether there is more to see than single points, which the tables show."""
  return any(len(of[name].x) > 1 for of in series if name in of) or bool(_levels(name, records))


def _levels(name: str, records: Sequence[RunRecord]) -> dict[str, float]:
  """Returns the values of the baselines on which all runs agree."""
  found = [record.baselines(name) for record in records]
  return {of: value for of, value in found[0].items() if all(np.isclose(other.get(of, np.nan), value) for other in found)}
