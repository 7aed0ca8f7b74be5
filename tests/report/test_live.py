"""The curve of the loss in a notebook, with a fake notebook."""

import sys
import types

import pytest
from matplotlib import figure

from jaxssl.core import UserError, log
from jaxssl.report import live


@pytest.fixture
def notebook(monkeypatch):
  """Pretends to be a notebook; returns what it displays."""
  shown: list[str] = []
  output = types.SimpleNamespace(update=shown.append)
  display = types.ModuleType("IPython.display")
  display.HTML = str  # type: ignore[attr-defined]
  display.display = lambda html, display_id: shown.append(html) or output  # type: ignore[attr-defined]
  shell = types.ModuleType("IPython")
  shell.get_ipython = lambda: types.SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
  shell.version_info = (9, 0, 0)  # type: ignore[attr-defined] (matplotlib asks)
  monkeypatch.setitem(sys.modules, "IPython", shell)
  monkeypatch.setitem(sys.modules, "IPython.display", display)
  return shown


def line(step: int, **values: float) -> dict:
  return {"step": step, "epoch": step // 2, "values": values}


def test_the_curve_is_drawn_at_the_first_step_and_after_evaluations(notebook, monkeypatch):
  assert log.bar_shown()
  monkeypatch.setattr(live.charts, "image", lambda title, draw: draw(figure.Figure().subplots()) or "<img src=...>")
  seen: list[dict] = []
  on_metrics = live.live_curve(seen.append)
  lines = [line(0, knn20_cosine=3.0), line(1, loss=3.0), line(2, loss=2.5), line(2, knn20_cosine=4.0)]
  for each in lines:
    on_metrics(each)
  assert seen == lines
  assert [text[:40] for text in notebook] == [
    "The loss is drawn here after the first s",
    "<div>Loss 3.0000 (epoch 1, step 1)</div>",
    "<div>Loss 2.5000 (epoch 2, step 2)</div>",
  ]
  assert notebook[-1].count("<img src=") == 1


def test_a_curve_that_cannot_be_drawn_does_not_end_the_run(notebook, monkeypatch):
  monkeypatch.setattr(live.charts, "image", lambda *_: 1 / 0)
  seen: list[dict] = []
  on_metrics = live.live_curve(seen.append)
  for step in (1, 2):
    on_metrics(line(step, loss=3.0))
  assert len(seen) == 2 and len(notebook) == 1


@pytest.mark.parametrize("shell", [None, types.SimpleNamespace()])  # no IPython; IPython in a terminal
def test_outside_of_a_notebook_it_is_an_error(shell, monkeypatch):
  module = types.ModuleType("IPython")
  module.get_ipython = lambda: shell  # type: ignore[attr-defined]
  monkeypatch.setitem(sys.modules, "IPython", module)
  with pytest.raises(UserError, match=r"^live=True: not in a notebook; leave it out, or draw with another library"):
    live.live_curve()
