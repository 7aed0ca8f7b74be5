"""The time that a run takes is estimated from its first steps on."""

import time
import types
from typing import Any

import pytest

from jaxssl.core import log
from jaxssl.train import progress
from jaxssl.train.cost import Cost
from jaxssl.train.metrics import MetricLogger


def test_the_time_that_is_left_is_estimated_and_long_runs_on_a_cpu_are_warned_of(monkeypatch, capfd):
  log.start(None)
  now = [0.0]
  monkeypatch.setattr(time, "monotonic", lambda: now[0])
  for gpu in (False, True):
    monkeypatch.setattr(progress, "NVIDIA", __file__ if gpu else "/nowhere")
    bar = progress.Progress(1000, 0, batch_size=32)
    assert bar.slow
    bar.compiled(0, 0.0)
    for step in range(1, 4):
      now[0] += 40
      bar.update(step, 0.0, 1.0, 0.0, "")
    assert bar.slow
    first, warning, second, third = capfd.readouterr().err.splitlines()
    assert [line.partition(" left ")[2] for line in (first, second, third)] == ["11 h 6 min", "11 h 5 min", "11 h 5 min"]
    assert warning.startswith("the run will take about 11 h 6 min, since JAX computes on the CPU")
    assert ("there is a GPU: pip install 'jaxssl[cuda]'" in warning) == gpu and "append ,cpu to the recipe" in warning
  bar = progress.Progress(10, 0, batch_size=32)
  bar.compiled(0, 0.0)
  now[0] += 1
  bar.update(1, 0.0, 1.0, 0.0, "")
  now[0] += 1
  bar.update(2, 0.0, 1.0, 0.0, "")
  assert not bar.slow and "will take" not in capfd.readouterr().err


def test_before_the_first_step_its_compilation_and_roughly_the_run_are_estimated(monkeypatch, capfd):
  log.start(None)
  monkeypatch.setattr(progress, "NVIDIA", "/nowhere")
  monkeypatch.setattr(progress, "cores", lambda: 2)
  task = "compiling the training step, about 20 s, or less if it is cached"
  bar = progress.Progress(1100, 100, batch_size=32)
  assert bar.expect(Cost(equations=5000, flops=2.4e11)) == task
  assert capfd.readouterr().err == f"{task}; by its operations the run then takes roughly 2 h 47 min\n"
  bar.expect(Cost(equations=5000, flops=1e12))
  line, warning = capfd.readouterr().err.splitlines()
  assert line.endswith("roughly 11 h 34 min") and warning.startswith(
    "the run will take roughly 11 h 34 min, since JAX computes"
  )
  for step in range(101, 104):  # it is not repeated
    bar.update(step, 0.0, 1.0, 0.0, "")
  assert "append ,cpu" in warning and "will take" not in capfd.readouterr().err
  monkeypatch.setattr("jax.default_backend", lambda: "gpu")
  bar.expect(Cost(equations=5000, flops=1e15))
  assert capfd.readouterr().err == f"{task}; the first steps show how long the run takes\n"


def test_the_wait_for_the_first_batch_does_not_count(monkeypatch):
  now = [100.0]
  monkeypatch.setattr(time, "monotonic", lambda: now[0])
  bar = progress.Progress(100, 0, batch_size=32)
  bar.compiled(0, 60.0)  # images of the first batch, for which processes were started
  now[0] += 2
  assert bar.update(1, 0.0, 1.0, 60.0, "") == {"images_per_second": 16, "data_wait": 0}
  now[0] += 2
  assert bar.update(2, 0.0, 1.0, 1.0, "") == {"images_per_second": 16, "data_wait": 0.25}


@pytest.mark.parametrize("slow", [False, True])
def test_a_slow_step_is_waited_for_before_the_next_one(slow):
  logger: Any = MetricLogger.__new__(MetricLogger)
  read = []
  logger._pending, logger.progress = None, types.SimpleNamespace(slow=slow)
  logger.flush = lambda: read.append(logger._pending and logger._pending[0])
  logger.push(1, {}, 0.0)
  logger.push(2, {}, 0.0)
  assert read == ([None, 1, 1, 2] if slow else [None, 1])
