"""What was written down over the run, as small charts: of one run, or of several in one."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxssl.report import charts
from jaxssl.report.charts import COLORS, LEVELS, Curve
from jaxssl.report.descriptions import GROUPS, SHARED, group, meaning, rank
from jaxssl.workdir.records import RunRecord, Series


def section(key: str, records: Sequence[RunRecord]) -> str:
  """Makes all charts; of several runs, each has its color."""
  series = [record.series() for record in records]
  names = sorted(dict.fromkeys(name for of in series for name in of), key=rank)
  shared = {name: title for title, some in SHARED.items() if len(records) == 1 for name in some}
  text = ""
  for title in GROUPS:
    sets: dict[str, list[str]] = {}
    for name in names:
      if group(name) == title and _drawable(name, records, series):
        sets.setdefault(shared.get(name, name), []).append(name)
    made = "".join(_chart(f"{key}-{first}", some, records, series) for first, some in sets.items())
    text += f'<h3>{title}</h3><div class="charts">{made}</div>' if made else ""
  return text or "<p>metrics.jsonl holds no figures yet.</p>"


def _chart(key: str, names: Sequence[str], records: Sequence[RunRecord], series: Sequence[Mapping[str, Series]]) -> str:
  """Draws some figures of one run, or one figure of several runs."""
  drawn = [(name, i) for name in names for i, of in enumerate(series) if name in of]
  lines = [
    Curve(name, series[i][name].x, series[i][name].y, COLORS[(i + names.index(name)) % len(COLORS)]) for name, i in drawn
  ]
  keys = ""
  if len(names) > 1 or len(records) > 1:
    told = [meaning(name).title if len(names) > 1 else records[i].name for name, i in drawn]
    keys = "".join(charts.key(line.color, label) for line, label in zip(lines, told, strict=True))
  levels = _levels(names[0], records)
  keys += "".join(charts.key(LEVELS[of], of.replace("_", " "), of) for of in levels)
  title = next((title for title, some in SHARED.items() if len(names) > 1 and names[0] in some), meaning(names[0]).title)
  units = {record.unit for record in records}
  scale = "zero" if group(names[0]) in ("Bootstrapping", "Speed") else "free"
  chart = charts.curves(charts.slug(key), title, lines, units.pop() if len(units) == 1 else "epochs or steps", levels, scale)
  return charts.figure(title, ", ".join(names), keys, chart, " ".join(dict.fromkeys(meaning(name).says for name in names)))


def _drawable(name: str, records: Sequence[RunRecord], series: Sequence[Mapping[str, Series]]) -> bool:
  """Whether there is more to see than single points, which the tables show."""
  return any(len(of[name].x) > 1 for of in series if name in of) or bool(_levels(name, records))


def _levels(name: str, records: Sequence[RunRecord]) -> dict[str, float]:
  """The values without training, as far as all runs agree on them."""
  found = [record.levels(name) for record in records]
  return {of: value for of, value in found[0].items() if all(np.isclose(other.get(of, np.nan), value) for other in found)}
