"""A signal stops a command in each of its phases, and what was cut short is made up for when the run resumes."""

import json
import pathlib
import signal
import subprocess
import sys
import threading

import pytest

from jaxssl import main
from jaxssl.core import json_io
from jaxssl.data import tfds as tfds_source
from jaxssl.data.file_sorter import FileSorter
from jaxssl.data.folder import FolderSource
from jaxssl.evals import baselines, features, neighbors
from jaxssl.report import page
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
  words += ["--config.evals.baseline_seeds=2"]
  whole, stopped = tmp_path / "whole", tmp_path / "stopped"
  assert main.main([*words, f"--workdir={whole}"]) == 0
  assert not json_io.lines(whole / "alerts.jsonl")  # no false alarm
  assert sorted(losses(whole)) == list(range(1, 7)) and any("share_bootstrapped" in line for line in lines(whole))
  subjects = {(m["name"], m["subject"]) for m in measurements(whole)}
  compared = ("teacher", "raw_pixels", "untrained")
  assert subjects >= {(name, subject) for name in ("knn20_cosine", "linear_lbfgs") for subject in compared}
  assert {m["seeds"] for m in measurements(whole) if m["subject"] == "untrained"} == {2}
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
  log = stop(baselines, "over_seeds", 1)  # the baselines, at the end
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
