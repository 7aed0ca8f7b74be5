"""Shows the loss of a run as a curve in a notebook while it trains."""

import time
from typing import Any

import numpy as np

from jaxssl.core import LOG, UserError
from jaxssl.core.log import in_notebook
from jaxssl.report import charts
from jaxssl.report.charts import COLORS, Curve
from jaxssl.train.metrics import OnMetrics

SECONDS = 2.0  # between drawings, each of which takes a twentieth of a second


def live_curve(then: OnMetrics | None = None) -> OnMetrics:
  """Returns an `on_metrics` that draws the loss below the notebook's cell, and then calls `then`.

  Raises UserError outside of a notebook.
  """
  if not in_notebook():
    raise UserError("live=True: not in a notebook; leave it out, or draw with another library in on_metrics")
  curve = LiveCurve()

  def on_metrics(line: dict[str, Any]) -> None:
    curve.add(line)
    if then is not None:
      then(line)

  return on_metrics


class LiveCurve:
  """The loss over the steps, in an output of the notebook that is redrawn."""

  def __init__(self):
    from IPython.display import HTML, display  # pyright: ignore[reportMissingImports] (notebooks have it)

    self._html, self._steps, self._losses, self._drawn = HTML, list[int](), list[float](), 0.0
    self._output: Any = display(HTML("The loss is drawn here after the first steps."), display_id=True)

  def add(self, line: dict[str, Any]) -> None:
    """Adds a line of metrics.jsonl; draws every two seconds, and after each evaluation. A failure is one warning."""
    is_step = "loss" in line["values"]
    if is_step:
      self._steps.append(line["step"])
      self._losses.append(line["values"]["loss"])
    if self._output is None or not self._losses or (is_step and time.monotonic() - self._drawn < SECONDS):
      return
    try:
      self._output.update(self._html(self._draw(f"epoch {line['epoch'] + 1}, step {line['step']}")))
    except Exception as error:  # a curve that cannot be drawn must not end a run
      LOG.warning("live=True: the curve is not drawn any more: %s: %s", type(error).__name__, error)
      self._output = None
    self._drawn = time.monotonic()

  def _draw(self, place: str) -> str:
    curve = Curve("loss", np.array(self._steps), np.array(self._losses), COLORS[0])
    return f"<div>Loss {self._losses[-1]:.4f} ({place})</div>{charts.image('Loss', charts.lines([curve], 'steps'))}"
