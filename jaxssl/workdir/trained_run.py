"""What a program gets back from training: the results and the history of a run, as its files hold them."""

import functools
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jaxssl.core import json_io
from jaxssl.workdir import results
from jaxssl.workdir.workdir import Workdir


class TrainedRun(Mapping[str, Any]):
  """A run that has been trained, or was stopped. As a mapping it has the contents of results.json."""

  def __init__(self, workdir: Workdir):
    """Reads results.json. Raises UserError if it is damaged."""
    self._workdir = workdir
    self.results = results.read(workdir.results)

  @property
  def workdir(self) -> pathlib.Path:
    """The folder of the run."""
    return self._workdir.folder

  @functools.cached_property
  def history(self) -> dict[str, np.ndarray]:
    """All metrics of the run, one row per step that was logged or evaluated; see `columns`."""
    return columns(json_io.lines(self._workdir.metrics))

  def __getitem__(self, name: str) -> Any:
    return self.results[name]

  def __iter__(self) -> Iterator[str]:
    return iter(self.results)

  def __len__(self) -> int:
    return len(self.results)

  def __repr__(self) -> str:
    state = "finished" if self.results.get("finished") else "not finished"
    steps = self.history.get("step", np.zeros(1, np.int64))
    return f"TrainedRun({str(self.workdir)!r}: {state}, step {steps.max(initial=0)}, {len(self.history)} columns of history)"


def columns(lines: list[dict[str, Any]]) -> dict[str, np.ndarray]:
  """Returns the lines of metrics.jsonl as columns: `step` and `epoch` int64 [n], all others float64 [n], NaN if not measured.

  The lines of a step, of which training and evaluation write one each, are one row.
  """
  rows: dict[int, dict[str, Any]] = {}
  for line in lines:
    rows.setdefault(line["step"], {}).update(line)
  ordered = [rows[step] for step in sorted(rows)]
  names = dict.fromkeys(name for row in ordered for name in row if name not in ("step", "epoch"))
  counts = {name: [row[name] if json_io.count(row.get(name)) else 0 for row in ordered] for name in ("step", "epoch")}

  def column(name: str) -> np.ndarray:
    values = (json_io.finite(row.get(name)) for row in ordered)
    return np.array([np.nan if value is None else value for value in values])

  return {name: np.array(values, np.int64) for name, values in counts.items()} | {name: column(name) for name in names}
