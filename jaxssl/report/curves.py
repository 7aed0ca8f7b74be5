"""What was written down over the run, as small charts: of one run, or of several in one."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxssl.report import charts
from jaxssl.report.charts import COLORS, LEVELS, Line
from jaxssl.report.record import Record
from jaxssl.report.words import meaning

GROUPS = (  # title, how names begin, and of these, names that share a chart
  ("Accuracy", ("knn", "linear", "lowshot", "finetune", "retrieval"), ()),
  ("Features", ("effective_rank", "rankme", "uniformity", "alignment", "deviation", "neighbors_", "encoder_", "hidden_"), ()),
  ("Training", ("loss", "gradient_norm", "learning_rate", "lr", "weight_decay", "momentum"), ()),
  (
    "Bootstrapping",
    ("share_", "neighbor_"),
    (("share_trusted", "share_bootstrapped"), ("neighbor_top1_label", "neighbor_top2_label")),
  ),
  ("The method's own figures", (), ()),
  ("Speed", ("pictures_per_second", "data_wait"), ()),
)


def section(key: str, records: Sequence[Record]) -> str:
  """Makes all charts; of several runs, one color each."""
  series = [record.series() for record in records]
  names = list(dict.fromkeys(name for of in series for name in of))
  text = ""
  for title, _, together in GROUPS:
    mine = [name for name in names if _group(name) == title]
    shared = [[name for name in some if name in mine] for some in (together if len(records) == 1 else ())]
    sets = [some for some in shared if some] + [[name] for name in mine if not any(name in some for some in shared)]
    made = "".join(_chart(f"{key}-{'-'.join(some)}", some, records, series) for some in sets)
    text += f'<h3>{title}</h3><div class="charts">{made}</div>' if made else ""
  return text or "<p>metrics.jsonl holds no figures yet.</p>"


def _group(name: str) -> str:
  for title, begins, _ in GROUPS:
    if name.startswith(begins or ()):
      return title
  return "The method's own figures"


def _chart(key: str, names: Sequence[str], records: Sequence[Record], series: Sequence[Mapping]) -> str:
  lines, keys = [], ""
  for i, name in enumerate(names):
    for j, (record, of) in enumerate(zip(records, series, strict=True)):
      if name in of:
        color = COLORS[(i + j) % len(COLORS)]
        lines.append(Line(name, of[name].x, of[name].y, color))
        if len(names) > 1 or len(records) > 1:
          keys += charts.key(color, meaning(name).title if len(records) == 1 else record.name)
  levels = _levels(names[0], records)
  keys += "".join(charts.key(LEVELS[of], of.replace("_", " "), of) for of in levels)
  means = meaning(names[0])
  title = means.title if len(names) == 1 else " and ".join(meaning(name).title for name in names)
  units = {record.unit for record in records}
  drawn = charts.curves(charts.slug(key), title, lines, units.pop() if len(units) == 1 else "epochs or steps", levels)
  says = " ".join(meaning(name).says for name in names)
  return charts.figure(title, ", ".join(names), keys, drawn, says)


def _levels(name: str, records: Sequence[Record]) -> dict[str, float]:
  """The dashed lines: those on which all runs agree."""
  found = [record.levels(name) for record in records]
  return {of: value for of, value in found[0].items() if all(np.isclose(other.get(of, np.nan), value) for other in found)}
