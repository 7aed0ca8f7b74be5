"""Alerts on synthetic metrics; tests/train/test_failing_runs.py trains runs that fail."""

import pytest

from jaxssl.config.schema import HealthConfig
from jaxssl.core import UserError, json_io
from jaxssl.methods.base import Dims
from jaxssl.train import diagnostics
from jaxssl.train.diagnostics import Diagnostics, Stopped
from jaxssl.workdir.workdir import Workdir

DIMS = Dims(features=512, projection=64, batch=32, images=256)
FINE = {
  "feature_deviation": 0.5, "projection_deviation": 0.5, "feature_rank": 9.0, "projection_rank": 9.0,
  "teacher_entropy": 2.0, "prototypes_used": 20.0, "data_wait": 0.01,
}  # fmt: skip
EPOCH = {"share_self_neighbor": 0.5, "share_bootstrapped": 0.3}
STEPS = [
  ({"feature_deviation": 0.001}, "collapsing", "the deviation of the features is 0.001 of 1"),
  ({"projection_deviation": 0.0}, "collapsing", "the deviation of the projections is 0.000 of 1"),
  ({"feature_rank": 1.3}, "dimensional collapse", "effective rank of the features 1.3 of 512 for 4 steps"),
  ({"projection_rank": 1.0}, "dimensional collapse", "effective rank of the projections 1.0 of 64"),
  ({"teacher_entropy": 4.158}, "teacher uniform", "teacher targets are almost uniform: their entropy is 100.0% of its maximum"),
  ({"prototypes_used": 1.0}, "one prototype", "1.0 of 64 prototypes are used"),
  ({"data_wait": 0.63}, "waiting for data", "63% of the time"),
]
STALE = "4% of the images are nearest to their own last features, yet 96% take a view from a neighbor"
EPOCHS = [({"share_self_neighbor": 0.04, "share_bootstrapped": 0.96}, "neighbors stale", STALE)]


def build(tmp_path, stop=(), step=0) -> Diagnostics:
  return Diagnostics(HealthConfig(patience=4, stop=stop), DIMS, Workdir(tmp_path), step)


def logged(tmp_path) -> list[tuple[int, str, bool]]:
  return [(line["step"], line["alert"], line["active"]) for line in json_io.lines(tmp_path / "alerts.jsonl")]


@pytest.mark.parametrize("bad, alert, reason", STEPS)
def test_a_step_alert_starts_after_the_patience_and_ends(bad, alert, reason, tmp_path):
  watch = build(tmp_path)
  for step in range(1, 4):
    watch.step(step, {**FINE, **bad})
  watch.step(4, FINE)
  assert logged(tmp_path) == [] and watch.active_alerts == ""
  for step in range(5, 12):
    watch.step(step, {**FINE, **bad})
  assert logged(tmp_path) == [(8, alert, True)] and watch.active_alerts == alert
  assert reason in json_io.lines(tmp_path / "alerts.jsonl")[0]["reason"]
  watch.step(12, FINE)
  assert logged(tmp_path) == [(8, alert, True), (12, alert, False)] and watch.active_alerts == ""


@pytest.mark.parametrize("bad, alert, reason", EPOCHS)
def test_an_epoch_alert_starts_in_the_second_epoch(bad, alert, reason, tmp_path):
  watch = build(tmp_path)
  for step in (10, 20, 30):
    watch.epoch(step, {**EPOCH, **bad})
  assert logged(tmp_path) == [(20, alert, True)]
  assert reason in json_io.lines(tmp_path / "alerts.jsonl")[0]["reason"]


def test_every_alert_is_tested_above():
  assert {alert for _, alert, _ in (*STEPS, *EPOCHS)} == set(diagnostics.ALERTS)


def test_only_the_named_alerts_stop_the_run(tmp_path):
  watch = build(tmp_path, stop=("collapsing",))
  for step, metrics in enumerate([{"feature_rank": 1.0}] * 5 + [{"feature_deviation": 0.0}] * 3, 1):
    watch.step(step, {**FINE, **metrics})
  with pytest.raises(Stopped, match=r"health\.stop: collapsing: the deviation of the features .* for 4 steps"):
    watch.step(9, {**FINE, "feature_deviation": 0.0})


def test_missing_metrics_raise_no_alert(tmp_path):
  watch = build(tmp_path)
  for step in range(10):
    watch.step(step, {"data_wait": 0.0, "feature_rank": float("nan")})
    watch.epoch(step, {})
  assert logged(tmp_path) == []


def test_a_resumed_run_restores_active_alerts(tmp_path):
  watch = build(tmp_path)
  for step in range(1, 9):
    watch.step(step, {**FINE, **({"data_wait": 0.9} if step < 7 else {})})
  assert logged(tmp_path) == [(4, "waiting for data", True), (7, "waiting for data", False)]
  again = build(tmp_path, step=5)
  assert logged(tmp_path) == [(4, "waiting for data", True)] and again.active_alerts == "waiting for data"
  again.step(6, FINE)
  assert logged(tmp_path)[1:] == [(6, "waiting for data", False)]


def test_an_alert_lasts_while_any_of_its_reasons_lasts(tmp_path):
  watch = build(tmp_path)
  for step in range(1, 6):
    watch.step(step, {**FINE, "projection_rank": 1.0})
  watch = build(tmp_path, step=5)  # and in a resumed run
  watch.step(6, {**FINE, "projection_rank": 1.0})
  assert logged(tmp_path) == [(4, "dimensional collapse", True)]
  watch.step(7, FINE)
  assert logged(tmp_path)[1:] == [(7, "dimensional collapse", False)]


def test_an_unknown_alert_is_an_error(tmp_path):
  with pytest.raises(UserError, match=r"health\.stop=colapsing: unknown; expected collapsing, .*; did you mean collapsing"):
    build(tmp_path, stop=("colapsing",))
