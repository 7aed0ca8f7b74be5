"""Errors of storage neither change a run nor lose what it has trained."""

import errno
import os
import pathlib
import re
import shutil

import jax
import numpy as np
import pytest

from jaxssl import main
from jaxssl.core import UserError, retry
from jaxssl.data import file_index
from jaxssl.data.listing import list_images
from jaxssl.train import loop
from jaxssl.train.setup import Experiment
from jaxssl.workdir.checkpoint import Checkpoints
from tests import bucket, devices
from tests.data import fixtures
from tests.faults import Clock, Faults
from tests.test_main import CONFIG, losses
from tests.tiny_run import TINY

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_device"), pytest.mark.xdist_group("drills")]
WORDS = [f"{CONFIG}:runlocal"] + [
  f"--config.{word}"
  for word in (
    "data.source=folder", "data.limit=0", "data.placement=host", "train.epochs=3", "evals.baselines=false", "evals.periodic=",
    "evals.final=quality", "evals.report=false",
  )
] + TINY  # fmt: skip


def train(images: pathlib.Path | str, workdir: pathlib.Path, *words: str) -> int:
  return main.main([*WORDS, f"--config.data.path={images}", f"--workdir={workdir}", *words])


def leaves(workdir: pathlib.Path) -> list[np.ndarray]:
  student, teacher, step = Checkpoints(workdir / "checkpoints", 1).weights()
  return [*map(np.asarray, jax.tree.leaves((student, teacher))), np.array(step)]


def same(workdir: pathlib.Path, clean: pathlib.Path) -> None:
  assert losses(workdir) == losses(clean) and len(losses(clean)) == 6
  for ours, theirs in zip(leaves(workdir), leaves(clean), strict=True):
    np.testing.assert_array_equal(ours, theirs)
  assert not (workdir / "bad_files.txt").exists()


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> pathlib.Path:
  files = {f"{k:03}.png": fixtures.coded(fixtures.noise(height=32, width=32, seed=k)) for k in range(64)}
  return pathlib.Path(fixtures.folder(tmp_path_factory.mktemp("storage") / "images", files))


@pytest.fixture(scope="module")
def clean(images, tmp_path_factory) -> pathlib.Path:
  """Trains without errors: six steps, saved after each epoch of two."""
  workdir = tmp_path_factory.mktemp("storage") / "clean"
  with devices.only(1):
    assert train(images, workdir) == 0
  return workdir


@pytest.fixture
def faults(monkeypatch) -> Faults:
  """Makes reads of images fail; none as yet."""
  Clock(monkeypatch)
  faults = Faults(file_index._read_local, 0, OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))
  monkeypatch.setattr(file_index, "_read_local", faults)
  return faults


def test_transient_errors_of_reading_change_no_bit(images, clean, faults, tmp_path):
  faults.share = 0.03
  assert train(images, tmp_path) == 0
  assert faults.count > 3
  same(tmp_path, clean)


def test_an_outage_ends_a_run_which_then_resumes(images, clean, faults, tmp_path, monkeypatch, capfd):
  monkeypatch.setenv(retry.VARIABLE, "2")
  step = Experiment.step

  def fail_in_the_second_epoch(run, state, batch):
    state, logs = step(run, state, batch)
    faults.share = float(int(state.step) >= 2)
    return state, logs

  monkeypatch.setattr(Experiment, "step", fail_in_the_second_epoch)
  assert train(images, tmp_path) == 75
  (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
  assert "storage does not respond within 2 s" in line and line.endswith(
    "Connection timed out. Rerun the same command to resume"
  )
  saved = leaves(tmp_path)[-1]
  assert 2 <= saved < 6
  monkeypatch.setattr(Experiment, "step", step)
  faults.share = 0
  assert train(images, tmp_path) == 0
  assert f"resumes at step {saved}" in capfd.readouterr().err
  same(tmp_path, clean)


def test_an_outage_before_the_first_step_ends_a_run(images, faults, tmp_path, capfd):
  faults.share = 1
  assert train(images, tmp_path) == 75
  # The waits of all threads advance the clock, which may therefore pass the limit of one of them by far.
  assert re.search(r"storage does not respond within \d+ min", capfd.readouterr().err)


def test_images_that_may_not_be_read_stop_a_run(images, faults, tmp_path, capfd):
  """They may be a class, which would be missing without anyone noticing."""
  faults.error = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
  faults._only, faults.share = lambda path: path.endswith("063.png"), 1
  assert train(images, tmp_path) == 2
  assert "063.png: Permission denied; make it readable for this user, or remove it" in capfd.readouterr().err


def test_a_run_lists_a_bucket_once(tmp_path, monkeypatch, capfd):
  bucket.install(tmp_path / "buckets", monkeypatch)
  there = pathlib.Path(
    fixtures.folder(tmp_path / "buckets/store/images", {"1.png": fixtures.flat(1), "2.png": fixtures.flat(2)})
  )

  def experiment(config, *_):
    raise UserError(f"{len(list_images(config.data.path, 'data.path'))} images")

  monkeypatch.setattr(loop, "Experiment", experiment)
  for words, count in (((), 2), ((), 2), (("--accept-changes",), 3), ((), 3)):
    assert train("gs://store/images", tmp_path / "run", *words) == 2
    assert capfd.readouterr().err.endswith(f"error: {count} images\n")
    (there / "3.png").write_bytes(fixtures.flat(3))


@pytest.mark.parametrize("state", ["gone", "empty"])
def test_a_run_waits_for_the_disk_of_its_images(images, clean, tmp_path, monkeypatch, capfd, state):
  monkeypatch.setenv(retry.VARIABLE, "5")
  clock = Clock(monkeypatch)
  workdir, moved = tmp_path / "run", tmp_path / "away"
  shutil.copytree(clean, workdir)
  images.rename(moved)
  if state == "empty":
    images.mkdir()
  try:
    assert train(images, workdir) == 75
    assert f"{images} is gone or empty; is its disk mounted?" in capfd.readouterr().err and clock.now >= 5
  finally:
    shutil.rmtree(images, ignore_errors=True)
    moved.rename(images)
  assert train(images, workdir) == 0
