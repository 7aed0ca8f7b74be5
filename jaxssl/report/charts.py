"""Draws charts as SVG images with matplotlib, which is imported on first use and whose global state does not change."""

import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxssl.report.text import data_uri, escape

# The colors of Okabe and Ito, which color-blind readers can distinguish, without yellow, too pale for thin lines on white
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#8C6D31", "#555555", "#B22222")
SIZE = (4.0, 2.2)  # inches: text of 9 points is readable on a chart as wide as a phone
POINTS = 400  # of a line; longer lines are averaged
STYLE: Any = {
  "svg.fonttype": "none",
  "svg.hashsalt": "report",
  "font.size": 9,
  "axes.spines.top": False,
  "axes.spines.right": False,
  "grid.linewidth": 0.6,
}


class Curve(NamedTuple):
  """One line of a chart, or one histogram: the edges `x` and the heights `y`."""

  label: str
  x: np.ndarray
  y: np.ndarray
  color: str
  style: str = "solid"  # or dashed, dotted


def lines(curves: Sequence[Curve], unit: str, scale: str = "free") -> Callable[[Any], None]:
  """Returns a function that draws curves as lines on axes. `scale`: free, zero or log."""

  def draw(axes: Any) -> None:
    for curve in curves:
      x, y = ([part.mean() for part in np.array_split(values, min(len(values), POINTS))] for values in (curve.x, curve.y))
      marker = "o" if curve.style == "solid" and len(x) < 15 else None
      axes.plot(x, y, color=curve.color, linestyle=curve.style, linewidth=1.5, marker=marker, markersize=3)
    axes.set_xlabel(unit, labelpad=1)
    if scale == "log":
      axes.set_yscale("log")
    else:
      axes.set_xlim(left=0)
    if scale == "zero":
      axes.set_ylim(0, 1.08 * max(float(curve.y.max()) for curve in curves) or 1)

  return draw


def figure(title: str, draw: Callable[[Any], None], legend: Sequence[Curve], text: str, hint: str = "") -> str:
  """Returns a chart with its title and legend above, and its description below; `hint` appears over the title."""
  keys = "".join(f'<span><i style="border-top:2px {c.style} {c.color}"></i>{escape(c.label)}</span>' for c in legend)
  head = f'<b title="{escape(hint)}">{escape(title)}</b><span class="keys">{keys}</span>'
  return f"<figure><figcaption>{head}</figcaption>{image(title, draw)}<small>{escape(text)}</small></figure>"


def image(title: str, draw: Callable[[Any], None]) -> str:
  """Draws one chart, as wide as the page allows."""
  from matplotlib import style
  from matplotlib.figure import Figure

  with style.context(["seaborn-v0_8-whitegrid", STYLE]):
    figure = Figure(figsize=SIZE, layout="constrained")
    draw(figure.subplots())
    file = io.BytesIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
  return f'<img src="{data_uri("svg+xml", file.getvalue())}" alt="{escape(title)}">'
