"""A signal stops a command in each of its phases, and what was cut short is made up for when the run resumes."""

import json
import pathlib
import signal
import subprocess
import sys
import threading
import time
import types
from typing import Any

import pytest

from jaxssl import main
from jaxssl.core import json_io
from jaxssl.data import tfds as tfds_source
from jaxssl.data.file_sorter import FileSorter
from jaxssl.data.folder import FolderSource
from jaxssl.evals import features, neighbors
from jaxssl.evals.evaluator import Evaluator
from jaxssl.parallel import preemption
from jaxssl.parallel.preemption import Preemption, StopRequested
from jaxssl.report import page
from jaxssl.train import progress, setup
from jaxssl.train.metrics import MetricLogger
from jaxssl.train.setup import Experiment
from tests.data.fixtures import flat, folder
from tests.signals import signal_at
from tests.test_main import CONFIG, ROOT, lines, losses, measurements
from tests.tiny_run import TINY

RUN = [f"{CONFIG}:runlocal", *TINY]
SMALL = [*RUN, "--config.data.limit=64", "--config.train.epochs=1", "--config.evals.report=false"]
SMALL += ["--config.evals.baselines=false", "--config.evals.final=quality"]
SECOND = """
import os, signal, sys, threading
import numpy as np
from jaxssl import main
from jaxssl.train.setup import Experiment
def long_step(*arguments):
  os.kill(os.getpid(), signal.SIGINT)
  threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
  np.linalg.svd(np.random.default_rng(0).random((6000, 6000)))  # a minute in which no handler can run
Experiment.step = long_step
main.run()
"""


def stops(words: list[str], workdir: pathlib.Path, capfd, code: int = 75) -> str:
  """Runs a command that a signal stops; returns its log, in which the signal is acknowledged."""
  assert main.main([*words, f"--workdir={workdir}"]) == code
  log = capfd.readouterr().err
  assert "a second one ends at once" in log and "Traceback" not in log
  return log


@pytest.mark.parametrize("phase", ["listing", "decoding", "statistics", "the range of values"])
def test_a_signal_while_images_are_read_stops_at_once(phase, tmp_path, monkeypatch, capfd, one_device):
  count = 200
  where = folder(tmp_path / "images", {f"{k // 2:03}/{k}.png": flat(k % 256, size=(32, 32)) for k in range(count)})
  words = [*SMALL, "--config.data.source=folder", f"--config.data.path={where}", "--config.data.workers=1"]
  words += ["--config.data.mean=" if phase == "statistics" else "--config.data.mean=0.5", "--config.data.limit=0"]
  words += [] if phase == "the range of values" else ["--config.data.bit_depth=8"]
  if phase == "listing":
    calls = signal_at(monkeypatch, FileSorter, "is_image", 7)
  elif phase == "the range of values":
    calls = signal_at(monkeypatch, FolderSource, "encoded", 7, pause=0.01)
  else:
    calls = signal_at(monkeypatch, FolderSource, "read", 7, pause=0.01)
  stops(words, tmp_path / "run", capfd)
  assert 7 <= len(calls) < count  # the rest was not read
  assert not (tmp_path / "run" / "config.json").exists()


def test_a_signal_ends_a_download(tmp_path, monkeypatch, capfd):
  import tensorflow_datasets

  waiting = []

  def download(name, split, decoders):
    waiting.append(name)
    signal.raise_signal(signal.SIGINT)
    threading.Event().wait(60)  # as TFDS waits for its threads

  monkeypatch.setattr(tensorflow_datasets, "data_source", download)
  words = [*SMALL, "--config.data.source=tfds", "--config.data.path=cifar10", "--config.data.limit=0"]
  stops(words, tmp_path, capfd, code=130)
  assert waiting == ["cifar10"]


@pytest.mark.parametrize("host", ["", "www.example.org"])
def test_a_download_is_tried_three_times(host, tmp_path, monkeypatch, fails):
  import tensorflow_datasets
  from tensorflow_datasets.core.download import downloader

  def download(name, split, decoders):
    assert downloader.MAX_RETRIES == 2
    problem = f"HTTPSConnectionPool(host='{host}', port=443): Max retries exceeded with url: /a.gz" if host else "no\n space"
    raise OSError(problem)

  monkeypatch.setattr(tensorflow_datasets, "data_source", download)
  message = f"no connection to {host} in 3 tries; check the network, or copy the dataset to " if host else "no space"
  fails([*SMALL, f"--workdir={tmp_path}", "--config.data.source=tfds", "--config.data.path=cifar10"], message)
  assert tfds_source.TRIES == 3


@pytest.mark.slow
def test_a_run_that_is_stopped_in_each_phase_equals_one_that_is_not(tmp_path, monkeypatch, capfd, one_device):
  """It is stopped in the first step, the baselines, an evaluation, the last evaluation, its baselines and the report."""
  words = [*RUN, "--config.data.limit=64", "--config.train.checkpoint_every_epochs=3", "--config.evals.baselines=true"]
  words += ["--config.evals.periodic=knn", "--config.evals.final=knn,linear", "--config.evals.report=false"]
  whole, stopped = tmp_path / "whole", tmp_path / "stopped"
  assert main.main([*words, f"--workdir={whole}"]) == 0
  assert not json_io.lines(whole / "alerts.jsonl")  # no false alarm
  assert sorted(losses(whole)) == list(range(1, 7)) and any("share_bootstrapped" in line for line in lines(whole))
  subjects = {(m["name"], m["subject"]) for m in measurements(whole)}
  compared = ("teacher", "raw_pixels", "untrained")
  assert subjects >= {(name, subject) for name in ("knn20_cosine", "linear_lbfgs") for subject in compared}
  for name in ("config.json", "metrics.jsonl", "results.json", "train.log", "checkpoints"):
    assert (whole / name).exists()
  assert list((whole / "tensorboard").glob("events*"))
  capfd.readouterr()

  def stop(owner, name: str, call: int, code: int = 75, report: bool = False) -> str:
    with monkeypatch.context() as patch:
      calls = signal_at(patch, owner, name, call, signal.SIGTERM if code == 75 else signal.SIGINT)
      log = stops([*words, f"--config.evals.report={report}"], stopped, capfd, code)
      assert len(calls) == call  # nothing more was begun
    return log

  log = stop(Experiment, "step", 1)
  assert (
    "SIGTERM: the run is saved and stops after the current step" in log
    and "saved at step 1; rerun the same command to resume" in log
  )
  log = stop(features, "_apply", 2)  # a batch of the baselines, after the first epoch
  assert "what is being measured will be measured when the run resumes" in log and "saved at step 2" in log
  assert not any("loss" not in line for line in lines(stopped))
  log = stop(features, "_apply", 1, code=130)  # again, before any step
  assert "resumes at step 2" in log and "Ctrl-C: " in log and "stopped by a signal at step 2" in log
  log = stop(neighbors, "nearest_examples", 1)  # after the second epoch
  assert "saved at step 4" in log and json.loads((stopped / "results.json").read_text())["finished"] is False
  log = stop(Evaluator, "baselines", 1)  # linear probes of the baselines, at the end
  assert "resumes at step 4" in log and "saved at step 6" in log
  log = stop(page, "write", 1, report=True)
  assert "resumes at step 6" in log and "stopping without the report" in log and not (stopped / "report.html").exists()
  assert json.loads((stopped / "results.json").read_text())["finished"] is True
  assert main.main([*words, f"--workdir={stopped}"]) == 0

  assert losses(stopped) == losses(whole)
  by_name = lambda run: sorted(measurements(run), key=str)  # noqa: E731
  assert by_name(stopped) == by_name(whole)
  assert (stopped / "neighbors.jsonl").read_text() == (whole / "neighbors.jsonl").read_text()
  ends = [[line for line in lines(run) if "loss" not in line] for run in (stopped, whole)]
  for line in (*ends[0], *ends[1]):
    assert line.pop("seconds") > 0  # the only value that may differ
  assert ends[0] == ends[1] and [line["step"] for line in ends[0]] == [0, 2, 4, 6]


@pytest.mark.slow
def test_a_signal_after_the_last_step_leaves_the_evaluation_to_the_next_command(tmp_path, monkeypatch, capfd, one_device):
  with monkeypatch.context() as patch:
    signal_at(patch, Experiment, "step", 2)
    assert "saved at step 2" in stops(SMALL, tmp_path, capfd)
  assert not measurements(tmp_path)
  assert main.main([*SMALL, f"--workdir={tmp_path}"]) == 0
  assert {m["name"] for m in measurements(tmp_path)} >= {"effective_rank", "alignment"}


@pytest.mark.slow
def test_a_second_signal_ends_the_command_although_a_step_is_running(tmp_path):
  command = [sys.executable, "-c", SECOND, *SMALL, f"--workdir={tmp_path}"]
  ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
  assert ended.returncode == 130 and "Traceback" not in ended.stderr
  *_, acknowledged, _, last = ended.stderr.splitlines()
  assert acknowledged.startswith("Ctrl-C: the run is saved and stops after the current step, or compilation")
  assert last == "ended at once by a second signal"


def test_a_report_ends_at_a_signal(tmp_path, monkeypatch, capfd):
  monkeypatch.setattr(page, "write", lambda runs, out: signal.raise_signal(signal.SIGINT))
  assert main.main(["report", f"--workdir={tmp_path}"]) == 130
  assert capfd.readouterr().err.splitlines()[-1] == "stopped by a signal"


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)])
def test_a_signal_is_raised_where_nothing_is_lost(number, code):
  before = signal.getsignal(number)
  with Preemption() as stop:
    preemption.check()
    with pytest.raises(StopRequested) as request:
      signal.raise_signal(number)
    assert request.value.code == stop.code == code
  assert signal.getsignal(number) is before
  with Preemption() as stop:
    with stop.held("saving"):
      assert not stop.stop_requested()
      signal.raise_signal(number)
      preemption.check()
      assert stop.stop_requested() and stop.code == code
      with pytest.raises(StopRequested), stop.interruptible("stopping"):
        raise AssertionError("the block has begun")
      with pytest.raises(KeyboardInterrupt):  # a second one, in another program than jaxssl
        signal.raise_signal(number)
    with pytest.raises(StopRequested):
      preemption.check()
  assert signal.getsignal(number) is before
  preemption.check()


def test_several_processes_stop_at_the_same_call(monkeypatch):
  calls = []
  monkeypatch.setattr("jaxssl.parallel.preemption._has_others", lambda: True)
  monkeypatch.setattr(
    "jax.experimental.multihost_utils.reached_preemption_sync_point", lambda call: calls.append(call) or call == 3
  )
  sent = []
  with Preemption() as stop:
    monkeypatch.setattr("os.kill", lambda process, number: sent.append(number))
    signal.raise_signal(signal.SIGUSR1)  # is passed on, since the others must stop as well
    assert sent == [signal.SIGTERM] and stop.code == 75
    with stop.held("saving"):
      assert not stop.stop_requested()
      with stop.interruptible("measuring"):
        preemption.check()
        with pytest.raises(StopRequested):
          preemption.check()
      assert stop.stop_requested() and calls == [1, 2, 3]


def test_other_threads_have_no_signals():
  handlers = []

  def run() -> None:
    with Preemption() as stop:
      handlers.append((signal.getsignal(signal.SIGINT), stop.stop_requested()))

  thread = threading.Thread(target=run)
  thread.start()
  thread.join()
  assert handlers == [(signal.getsignal(signal.SIGINT), False)]


@pytest.mark.parametrize(
  "words, message",
  [
    (["method.name=dyno"], "method.name='dyno': unknown; expected barlow, "),
    (["method.temprature=1"], "method.temprature"),
    (["views.globul.size=28"], "views.globul: unknown view group; expected global, "),
    (["train.epochs=-3"], "train.epochs=-3: out of range; expected at least 1"),
    (["train.batch_size=0"], "train.batch_size=0: out of range; expected at least 1"),
    (["bootstrap.k=0"], "bootstrap.k=0: out of range; expected at least 1"),
    (["optim.schedule.warmup_epochs=30"], "optim.schedule.warmup_epochs=30.0: out of range; expected 0 to 3"),
    (["evals.every=0"], "evals.every=0: out of range; expected at least 1"),
    (["evals.periodic=knm"], "evals.periodic"),
    (["health.stop=colapsing"], "health.stop=colapsing: unknown"),
    (["model.init_from=/nowhere.pth"], "/nowhere.pth"),
  ],
)
def test_mistakes_in_a_config_are_reported_before_images_are_opened(words, message, tmp_path, monkeypatch, fails):
  def opened(*_, **__):
    raise AssertionError("images were opened")

  monkeypatch.setattr(setup.datasets, "open_datasets", opened)
  fails([*RUN, *(f"--config.{word}" for word in words), f"--workdir={tmp_path}"], message)


@pytest.mark.parametrize("platforms", ["cuda", "tpu"])
def test_platforms_that_are_not_there_are_reported_in_one_line(platforms, tmp_path, monkeypatch, fails):
  def devices():
    if platforms == "cuda":
      raise AssertionError  # as JAX does
    raise RuntimeError("Unable to initialize backend 'tpu': no libtpu. (set JAX_PLATFORMS='' to choose)\nmore")

  monkeypatch.setenv("JAX_PLATFORMS", platforms)
  monkeypatch.setattr("jax.devices", devices)
  expected = {
    "cuda": "JAX_PLATFORMS=cuda: JAX finds no such device; a GPU needs pip install 'jaxssl[cuda]' and its driver; unset it",
    "tpu": "JAX_PLATFORMS=tpu: Unable to initialize backend 'tpu': no libtpu; unset it to use the devices that there are",
  }
  fails([*RUN, f"--workdir={tmp_path}"], expected[platforms])


def test_the_time_that_is_left_is_estimated_and_long_runs_on_a_cpu_are_warned_of(monkeypatch, capfd):
  from jaxssl.core import log

  log.start(None)
  now = [0.0]
  monkeypatch.setattr(time, "monotonic", lambda: now[0])
  for gpu in (False, True):
    monkeypatch.setattr(progress, "NVIDIA", __file__ if gpu else "/nowhere")
    bar = progress.Progress(1000, 0, batch_size=32)
    assert bar.slow
    bar.compiled(0)
    for step in range(1, 4):
      now[0] += 40
      bar.update(step, 0.0, 1.0, 0.0, "")
    assert bar.slow
    first, warning, second, third = capfd.readouterr().err.splitlines()
    assert [line.partition(" left ")[2] for line in (first, second, third)] == ["11 h 6 min", "11 h 5 min", "11 h 5 min"]
    assert warning.startswith("the run will take about 11 h 6 min, since JAX computes on the CPU")
    assert ("there is a GPU: pip install 'jaxssl[cuda]'" in warning) == gpu and "append ,cpu to the recipe" in warning
  bar = progress.Progress(10, 0, batch_size=32)
  bar.compiled(0)
  now[0] += 1
  bar.update(1, 0.0, 1.0, 0.0, "")
  now[0] += 1
  bar.update(2, 0.0, 1.0, 0.0, "")
  assert not bar.slow and "will take" not in capfd.readouterr().err


@pytest.mark.parametrize("slow", [False, True])
def test_a_slow_step_is_waited_for_before_the_next_one(slow):
  logger: Any = MetricLogger.__new__(MetricLogger)
  read = []
  logger._pending, logger.progress = None, types.SimpleNamespace(slow=slow)
  logger.flush = lambda: read.append(logger._pending and logger._pending[0])
  logger.push(1, {}, 0.0)
  logger.push(2, {}, 0.0)
  assert read == ([None, 1, 1, 2] if slow else [None, 1])
