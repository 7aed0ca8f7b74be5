"""After a failure, the error names its cause, and the same command resumes without losing completed training."""

import json
import logging
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from etils import epath

from jaxssl import main
from jaxssl.core import LOG, json_io, tree
from jaxssl.data import unreadable
from jaxssl.evals import load_run
from jaxssl.train import loop
from jaxssl.train.setup import Experiment
from jaxssl.workdir.workdir import Workdir
from tests import devices, flags
from tests.data import fixtures
from tests.signals import DIES_IN_A_SAVE
from tests.test_main import CONFIG, ROOT, losses, measurements
from tests.tiny_run import TINY, make

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_device"), pytest.mark.xdist_group("drills")]
WORDS = [f"{CONFIG}:runlocal"] + [
  f"--config.{word}"
  for word in (
    "data.limit=64", "data.placement=host", "train.epochs=4", "train.checkpoint_every_steps=2", "train.max_to_keep=4",
    "evals.baselines=false", "evals.periodic=", "evals.final=quality", "evals.report=false",
  )
] + TINY  # fmt: skip

FULL = """
import resource, sys
sys.modules["clu"] = sys.modules["keras"] = None
from jaxssl import api, main  # before the limit, since imports may write files
from tests import devices
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))  # limits the size of every file, as a quota would
with devices.only(1):
  main.run()
"""


def train(workdir: pathlib.Path, *words: str) -> int:
  return main.main([*WORDS, f"--workdir={workdir}", *words])


def run(script: str, workdir: pathlib.Path) -> subprocess.CompletedProcess:
  """Trains in a separate process with a copy of the compilation cache, since a killed one may leave a partial entry."""
  compiled = shutil.copytree(os.environ["JAX_COMPILATION_CACHE_DIR"], workdir.with_name("compiled"))
  env = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(compiled)}
  argv = [sys.executable, "-c", script, *WORDS, f"--workdir={workdir}"]
  return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)


def error(log: str) -> str:
  *before, line = log.strip().splitlines()
  assert line.startswith("error: ") and not any(other.startswith("error: ") for other in before)
  return line


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """Trains an uninterrupted run of eight steps with checkpoints of steps 2, 4, 6 and 8."""
  workdir = tmp_path_factory.mktemp("drills") / "whole"
  with devices.only(1):
    assert train(workdir) == 0
  return workdir


def same(workdir: pathlib.Path, whole: pathlib.Path) -> None:
  assert losses(workdir) == losses(whole) and len(losses(whole)) == 8
  assert measurements(workdir) == measurements(whole)


def test_a_run_killed_during_a_save_resumes(whole, tmp_path):
  assert run(DIES_IN_A_SAVE, tmp_path).returncode == -signal.SIGKILL
  assert train(tmp_path) == 0
  same(tmp_path, whole)


def test_unreadable_checkpoints_are_skipped(whole, tmp_path, capfd):
  workdir, other = tmp_path / "run", make(tmp_path / "other")
  shutil.copytree(whole, workdir)
  folder = workdir / "checkpoints"
  for path in (folder / "8").rglob("*"):
    if path.is_file():
      path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  (folder / "6" / "default" / "_METADATA").unlink()
  shutil.rmtree(folder / "4")
  shutil.copytree(other / "checkpoints" / "5", folder / "4")
  assert train(workdir) == 0
  log = capfd.readouterr().err
  for step in (8, 6, 4):
    assert f"checkpoint {step} cannot be read" in log
  assert "resumes at step 2" in log
  same(workdir, whole)


def test_a_finished_run_without_its_checkpoints_keeps_its_results(whole, tmp_path, capfd):
  workdir = tmp_path / "run"
  shutil.copytree(whole, workdir, ignore=shutil.ignore_patterns("checkpoints"))
  before = (workdir / "results.json").read_bytes()
  assert train(workdir) == 2
  message = error(capfd.readouterr().err)
  assert f"the run is finished, but its checkpoints are gone from {workdir}/checkpoints; restore them" in message
  assert (workdir / "results.json").read_bytes() == before
  assert message.removeprefix("error: ") in (workdir / "train.log").read_text().splitlines()[-1]
  assert not any(isinstance(handler, logging.FileHandler) for handler in LOG.handlers)  # later commands log elsewhere


def test_a_run_that_becomes_shorter_is_evaluated_at_its_new_end(whole, tmp_path):
  workdir = tmp_path / "run"
  shutil.copytree(whole, workdir)
  for step in (6, 8):
    shutil.rmtree(workdir / "checkpoints" / f"{step}")
  assert train(workdir, "--config.train.epochs=2") == 0
  document = json.loads((workdir / "results.json").read_text())
  assert document["finished"] and {m["step"] for m in document["measurements"] if m["name"] == "crops_alike"} == {4}
  ends = [line for line in json_io.lines(workdir / "metrics.jsonl") if line["step"] == 4 and "loss" not in line]
  assert len(ends) == 1 and "crops_alike" in ends[0]


def test_weights_that_are_not_finite_are_not_saved(whole, tmp_path, monkeypatch, capfd):
  workdir = tmp_path / "run"
  shutil.copytree(whole, workdir)
  shutil.rmtree(workdir / "checkpoints" / "8")
  monkeypatch.setattr(loop, "all_finite", lambda variables: np.zeros((), bool))
  assert train(workdir) == 3
  assert "the weights are not finite after step 8; try a lower optim.lr. Last good checkpoint: step 6" in capfd.readouterr().err
  assert not (workdir / "checkpoints" / "8").exists()


def test_a_full_disk_is_an_error_and_the_run_resumes(whole, tmp_path):
  workdir = tmp_path / "run"
  shutil.copytree(whole, workdir)
  shutil.rmtree(workdir / "checkpoints" / "8")
  ended = run(FULL, workdir)
  assert ended.returncode == 2, ended.stderr
  message = error(ended.stderr)
  assert f"a checkpoint cannot be written to {workdir / 'checkpoints'}" in message and "resume from step 6" in message
  assert "Traceback" not in ended.stderr
  assert train(workdir) == 0
  same(workdir, whole)


def test_a_workdir_that_cannot_be_written_is_an_error(tmp_path, capfd, monkeypatch):
  assert train(pathlib.Path("/proc/jaxssl")) == 2
  assert "--workdir /proc/jaxssl cannot be used" in error(capfd.readouterr().err)
  open_file = pathlib.Path.open

  def read_only(path, mode="r", *more, **words):
    if path.parent == tmp_path and mode != "r":
      raise OSError(30, "Read-only file system", str(path))
    return open_file(path, mode, *more, **words)

  monkeypatch.setattr(pathlib.Path, "open", read_only)
  assert train(tmp_path) == 2
  assert f"--workdir {tmp_path} cannot be written to: Read-only file system" in error(capfd.readouterr().err)


def test_a_second_run_on_a_workdir_is_refused(tmp_path, capfd):
  with Workdir(tmp_path).hold():
    assert train(tmp_path) == 2
  assert "is in use by another run" in error(capfd.readouterr().err)
  assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_run_survives_missing_files_and_clock_jumps(tmp_path, monkeypatch, capfd):
  files = {f"{k:03}.png": fixtures.flat(k, size=(32, 32)) for k in range(64)}
  images = pathlib.Path(fixtures.folder(tmp_path / "images", files))
  init, now = Experiment.init, iter(range(10**6))

  def remove_image_and_init(run):
    (images / "017.png").unlink()
    return init(run)

  monkeypatch.setattr(unreadable, "LIMIT", 0.02)  # one of 64 images
  monkeypatch.setattr(Experiment, "init", remove_image_and_init)
  monkeypatch.setattr(time, "time", lambda: 1.7e9 - 3600 * next(now))  # an hour back at every call
  words = ("source=folder", f"path={images}", "limit=0", "placement=host")
  assert train(tmp_path / "run", *(f"--config.data.{word}" for word in words), "--config.train.epochs=1") == 0
  log = capfd.readouterr().err
  assert "cannot read" in log and "017.png" in log
  assert (tmp_path / "run" / "bad_files.txt").read_text().split() == [str(images / "017.png")]
  assert json.loads((tmp_path / "run" / "results.json").read_text())["bad_images"] == 1


def test_the_error_about_memory_names_the_field_to_lower(tmp_path, monkeypatch, capfd):
  def step(run, state, rows):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 68719476736 bytes.")

  monkeypatch.setattr(Experiment, "step", step)
  assert train(tmp_path) == 2
  message = error(capfd.readouterr().err)
  assert "train.batch_size=32 with train.accumulate=1 does not fit in the memory of 1 devices; lower the first" in message


def test_a_remote_workdir_is_written_and_resumed(whole, tmp_path, capfd):
  """Trains on etils paths, as for gs://, without locks and appends; here they are on the local disk."""
  workdir = epath.Path(tmp_path / "bucket")
  config, _ = flags.parse([*WORDS, "--config.evals.report=true"])

  def report(local, _) -> None:
    local.report.write_text("a report")

  assert loop.train(config, workdir, report=report) == 0
  same(tmp_path / "bucket", whole)
  (tmp_path / "bucket" / "results.json").unlink()
  shutil.rmtree(tmp_path / "bucket" / "checkpoints" / "8")
  assert loop.train(config, workdir, report=report) == 0  # resumes
  assert "resumes at step 6" in capfd.readouterr().err
  names = {path.name for path in (tmp_path / "bucket").iterdir()}
  assert names >= {"config.json", "results.json", "metrics.jsonl", "train.log", "report.html", "tensorboard", "checkpoints"}
  assert load_run.read_config(workdir) == tree.replace(config, {"data.bit_depth": 8})  # decided from the images
