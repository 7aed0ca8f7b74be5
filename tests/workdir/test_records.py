import json

import pytest

from jaxssl.config.schema import Config
from jaxssl.workdir.records import RunRecord
from jaxssl.workdir.workdir import Workdir


def test_curves_count_epochs_although_their_lengths_differ(tmp_path):
  """Two epochs of 4 steps, then one of 6, interrupted after 2 steps of the next."""
  lines = [{"step": step, "epoch": epoch, "loss": 1.0} for step, epoch in ((2, 0), (4, 0), (11, 2), (16, 3))]
  ends = [{"step": step, "epoch": epoch, "rank": 3.0} for step, epoch in ((4, 0), (8, 1), (14, 2))]
  (tmp_path / "metrics.jsonl").write_text(
    "".join(json.dumps(line) + "\n" for line in sorted(lines + ends, key=lambda x: x["step"]))
  )
  Workdir(tmp_path).write_config(Config())
  record = RunRecord(Workdir(tmp_path))
  assert record.unit == "epochs"
  assert record.series()["loss"].x.tolist() == [0.5, 1, 2.5, pytest.approx(3 + 2 / 6)]
  assert record.series()["rank"].x.tolist() == [1, 2, 3]
