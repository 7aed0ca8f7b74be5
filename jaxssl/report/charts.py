"""Charts as inline SVG, drawn by matplotlib, which is imported on first use and whose global state stays as it is."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxssl.report.text import escape

# The colors of Okabe and Ito, which color-blind readers can distinguish, without yellow, too pale for thin lines on white
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#8C6D31", "#555555", "#B22222")
LEVELS = {"untrained": "#555555", "imported": "#555555", "raw_pixels": "#A0522D"}
SIZE = (4.0, 2.2)  # inches: text of 9 points is readable on a chart as wide as a phone
POINTS = 400  # of a line; longer lines are averaged
STYLE: Any = {
  "svg.fonttype": "none",
  "svg.hashsalt": "report",
  "font.family": "DejaVu Sans",
  "font.size": 9,
  "axes.linewidth": 0.6,
  "axes.edgecolor": "#999999",
  "axes.spines.top": False,
  "axes.spines.right": False,
  "axes.grid": True,
  "axes.axisbelow": True,
  "grid.color": "#e8e8e4",
  "grid.linewidth": 0.6,
  "xtick.color": "#555555",
  "ytick.color": "#555555",
  "axes.labelcolor": "#555555",
  "lines.solid_capstyle": "round",
}


class Curve(NamedTuple):
  """One line of a chart."""

  label: str
  x: np.ndarray
  y: np.ndarray
  color: str


def curves(key: str, title: str, lines: Sequence[Curve], unit: str, levels: Mapping[str, float], scale: str = "free") -> str:
  """Draws lines, and levels (of LEVELS) dashed. `key`: unique in the page; scale: free, zero or log."""

  def draw(axes: Any) -> None:
    for of, value in levels.items():
      axes.axhline(value, color=LEVELS[of], linestyle=(0, (1, 2)) if of == "raw_pixels" else (0, (5, 3)), linewidth=1.2)
    for line in lines:
      x, y = thinned(line.x, line.y)
      axes.plot(x, y, color=line.color, linewidth=1.5, marker="o" if len(x) < 15 else None, markersize=3)
    axes.set_xlabel(unit, labelpad=1)
    if scale == "log":
      axes.set_yscale("log")
    else:
      axes.set_xlim(left=0)
    if scale == "zero":
      axes.set_ylim(0, 1.08 * max((float(line.y.max()) for line in lines), default=0) or 1)

  return svg(key, title, draw)


def histograms(key: str, title: str, groups: Mapping[str, np.ndarray], colors: Mapping[str, str], low: float) -> str:
  """Draws the densities of groups of cosines above `low`."""

  def draw(axes: Any) -> None:
    for name, values in groups.items():
      height, edges = np.histogram(values, bins=60, range=(low, 1.0), density=True)
      axes.stairs(height, edges, fill=True, color=colors[name], alpha=0.25)
      axes.stairs(height, edges, color=colors[name], linewidth=1.2)
    axes.set_yticks([])
    axes.set_xlim(low, 1.0)
    axes.set_xlabel("similarity (cosine)", labelpad=1)

  return svg(key, title, draw)


def figure(title: str, name: str, keys: str, drawn: str, text: str) -> str:
  """Returns a chart with its title and keys above, and its description below."""
  head = f'<b title="{escape(name)}">{escape(title)}</b><span class="keys">{keys}</span>'
  return f"<figure><figcaption>{head}</figcaption>{drawn}<small>{escape(text)}</small></figure>"


def key(color: str, label: str, level: str = "") -> str:
  """Returns the legend of a color; `level`: one of LEVELS, which is drawn dashed or dotted."""
  style = {"": "solid", "untrained": "dashed", "imported": "dashed", "raw_pixels": "dotted"}[level]
  return f'<span><i style="border-top:2px {style} {color}"></i>{escape(label)}</span>'


def slug(text: str) -> str:
  """Returns an HTML id made from any text."""
  return re.sub(r"[^a-zA-Z0-9_-]+", "-", text)


def thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Averages neighboring points if there are more than POINTS."""
  if len(x) <= POINTS:
    return x, y
  starts = np.linspace(0, len(x), POINTS, endpoint=False).astype(int)
  counts = np.diff(np.append(starts, len(x)))
  return np.add.reduceat(x, starts) / counts, np.add.reduceat(y, starts) / counts


def svg(key: str, title: str, draw: Callable[[Any], None]) -> str:
  """Draws one chart, as wide as the page allows."""
  import matplotlib
  from matplotlib.figure import Figure

  with matplotlib.rc_context(STYLE):
    figure = Figure(figsize=SIZE, layout="constrained")
    draw(figure.subplots())
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
  return inlined(file.getvalue(), key, title)


def inlined(text: str, key: str, title: str) -> str:
  """Adapts an SVG file to a page: unique ids, the reader's font, no references to anything outside."""
  text = text[text.index("<svg") :]
  text = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</defs>|<!--.*?-->", "", text, flags=re.DOTALL)
  text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
  used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
  text = re.sub(r'\sid="([^"]*)"', lambda m: f' id="{key}-{m[1]}"' if m[1] in used else "", text)
  text = re.sub(r'(href="#|url\(#)', rf"\1{key}-", text)
  text = text.replace("'DejaVu Sans'", "system-ui, sans-serif").replace("DejaVu Sans", "system-ui, sans-serif")
  text = re.sub(r"\s*\n\s*", " ", text)
  size = re.search(r'viewBox="[^"]*"', text)
  assert size is not None
  return f'<svg {size[0]} role="img" aria-label="{escape(title)}">' + text[text.index(">") + 1 :]
