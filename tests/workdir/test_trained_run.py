"""A trained run is a mapping of its results, with its history as columns."""

import json

import numpy as np

from jaxssl.workdir.trained_run import TrainedRun
from jaxssl.workdir.workdir import Workdir

LINES = (
  {"step": 0, "epoch": 0, "untrained/knn20_cosine": 40.0},
  {"step": 2, "epoch": 0, "loss": 3.0, "seconds": 1.5},
  {"step": 4, "epoch": 0, "loss": None, "seconds": 2.0},
  {"step": 4, "epoch": 0, "knn20_cosine": 60.0, "seconds": 2.5},
)


def test_history_has_one_row_per_step_and_nan_for_what_was_not_measured(tmp_path):
  (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES) + '{"step": 6, "lo')
  (tmp_path / "results.json").write_text('{"finished": true, "measurements": []}')
  run = TrainedRun(Workdir(tmp_path))
  history, nan = run.history, np.nan
  assert list(history) == ["step", "epoch", "untrained/knn20_cosine", "loss", "seconds", "knn20_cosine"]
  assert history["step"].tolist() == [0, 2, 4] and history["step"].dtype == np.int64
  np.testing.assert_array_equal(history["loss"], [nan, 3.0, nan])
  np.testing.assert_array_equal(history["knn20_cosine"], [nan, nan, 60.0])
  np.testing.assert_array_equal(history["seconds"], [nan, 1.5, 2.5])
  assert run.workdir == tmp_path and run.results["finished"] is run["finished"] is True
  assert repr(run) == f"TrainedRun({str(tmp_path)!r}: finished, step 4, 6 columns of history)"


def test_a_run_that_was_stopped_at_once_has_an_empty_history(tmp_path):
  run = TrainedRun(Workdir(tmp_path))
  assert dict(run) == {} and run.history["step"].shape == (0,) and "not finished, step 0" in repr(run)
