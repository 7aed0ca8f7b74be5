"""Two processes of launch/local.sh train together, as one would alone."""

import json
import os
import sys

import pytest

from jaxssl.main import HELP
from tests.launch.scripts import start

SHORT = ["data.limit=64", "train.epochs=1", "evals.baselines=false", "evals.report=false", "evals.during=", "evals.end=knn"]


@pytest.mark.skipif("--distributed" not in HELP, reason="training has no --distributed")
def test_two_processes_train(tmp_path):
  env = {**os.environ, "PYTHON": sys.executable}
  losses = {}
  for processes in (1, 2):
    workdir = tmp_path / f"runs of {processes}"
    words = [f"--processes={processes}", f"--devices-per-process={4 // processes}", "--config=configs/nnboot.py:runlocal"]
    process = start("local.sh", *words, "--workdir", str(workdir), *(f"--config.{word}" for word in SHORT), env=env)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    losses[processes] = {line["step"]: line["loss"] for line in lines if "loss" in line}
    assert json.loads((workdir / "results.json").read_text())["finished"] is True
    assert (workdir / "launch" / "process-1.log").exists() == (processes == 2)
  assert losses[1] and losses[2] == pytest.approx(losses[1], rel=1e-3)
  other = start("local.sh", *words, "--workdir", str(workdir), "--config.optim.lr=1", env=env)
  _, err = other.communicate(timeout=300)
  assert other.returncode == 2 and "belongs to another config" in err
