"""The map: pictures of a split in two dimensions, with a look at each."""

import numpy as np

from jaxssl.evals import atlas
from jaxssl.report.charts import COLORS
from jaxssl.report.pictures import Sheet, class_of, thumbnail
from jaxssl.report.seen import Seen
from jaxssl.report.words import escape
from jaxssl.splits import Split

SIDE = 40
NAMED = 20  # classes at most that get a button each


def section(key: str, run: Seen, split: Split, features: np.ndarray) -> tuple[str, str]:
  """Makes the map of a split's pictures, and what they need in the page's head."""
  seed, labels = run.measure.config.train.seed, split.source.labels
  places = atlas.positions(features, seed)
  group = atlas.groups(features, seed) if labels is None else labels
  order = np.argsort(group, kind="stable")
  sheet = Sheet(f"{key}-map", {row: thumbnail(split, row, SIDE) for row in order.tolist()})
  dots, legend = "", ""
  numbers = np.unique(group)
  for number in numbers:
    rows = order[group[order] == number]
    name = escape(f"cluster {number + 1}" if labels is None else class_of(split, int(rows[0])) or "no class")
    color = COLORS[int(number) % len(COLORS)]
    circles = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.8"/>' for x, y in places[rows] * (388, 288) + 6)
    dots += f'<g fill="{color}" data-name="{name}">{circles}</g>'
    legend += f'<button type="button" aria-pressed="false"><i style="background:{color}"></i>{name}</button>'
  which = "test" if run.measure.splits.test else "training"
  colors = "classes, which the network was never told" if labels is not None else "clusters that k-means finds in the features"
  text = (
    f"<p>{len(order)} {which} pictures; those that the network finds alike lie close together (t-SNE: only closeness counts, "
    f"neither axes nor sizes). Colours: {colors}. Point at a dot, or touch it.</p>"
  )
  text += f'<div class="map" data-columns="{sheet.columns}" data-rows="{sheet.rows}">'
  text += f'<svg viewBox="0 0 400 300" role="img" aria-label="map of pictures">{dots}</svg>'
  text += f'<div class="peek" hidden><i class="tile {sheet.key}"></i><small></small></div></div>'
  return text + (f'<p class="legend">{legend}</p>' if len(numbers) <= NAMED else ""), sheet.style
