"""A run is stopped and requeued: on other images, which must be accepted, and on the same images at another path."""

import json
import os

import numpy as np
import pytest

from jaxssl import main
from jaxssl.core.types import TrainState
from jaxssl.train.setup import Experiment
from tests.data.fixtures import coded, folder
from tests.signals import signal_at
from tests.test_main import CONFIG, lines
from tests.tiny_run import TINY

WORDS = [f"{CONFIG}:runlocal", *TINY] + [
  f"--config.{word}"
  for word in (
    "data.source=folder", "data.path=images", "data.limit=0", "data.placement=host", "train.epochs=3", "train.batch_size=8",
    "bootstrap.policy=naive", "bootstrap.window=1", "bootstrap.k=3", "evals.baselines=false", "evals.periodic=",
    "evals.final=quality", "evals.report=false", "train.log_every=1",
  )
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("one_device")
def test_a_run_resumes_on_accepted_images(tmp_path, monkeypatch, fails, capfd):
  """Sixteen images, two steps an epoch, stopped after three steps; then 25 images, three steps an epoch."""
  rng, root = np.random.default_rng(0), tmp_path / "here" / "images"
  image = [coded(rng.integers(0, 256, (28, 28), dtype=np.uint8), "PNG") for _ in range(26)]
  folder(root, {f"{k:02}.png": image[k] for k in range(16)})
  folder(tmp_path / "there" / "images", {f"{k:02}.png": image[k] for k in range(10)})
  words, workdir = [*WORDS, f"--workdir={tmp_path / 'run'}"], tmp_path / "run"
  monkeypatch.chdir(root.parent)
  with monkeypatch.context() as patch:
    signal_at(patch, Experiment, "step", 3)
    assert main.main(words) == 75
  assert json.loads((workdir / "config.json").read_text())["data"]["path"] == str(root)

  monkeypatch.chdir(tmp_path / "there")
  fails(words, f"6 removed (first: 10.png); data.path: '{root}' there, '{tmp_path}/there/images' here")
  monkeypatch.chdir(root.parent)
  (root / "03.png").unlink()
  folder(root, {f"a{k}.png": image[k] for k in range(16, 26)})
  fails(words, "10 added (first: a16.png), 1 removed (first: 03.png)")
  fails(["evaluate", "quality", f"--workdir={workdir}"], "10 added (first: a16.png), 1 removed (first: 03.png)")
  assert main.main(["evaluate", "quality", f"--workdir={workdir}", f"--data.path={root}"]) == 0
  capfd.readouterr()
  moves, carry_over = [], Experiment.carry_over

  def recorded(run: Experiment, state: TrainState, before: np.ndarray) -> TrainState:
    after = carry_over(run, state, before)
    moves.append((np.asarray(state.neighbor_bank.features), before, np.asarray(after.neighbor_bank.features)))
    return after

  with monkeypatch.context() as patch:
    patch.setattr(Experiment, "carry_over", recorded)
    assert main.main([*words, "--accept-changes"]) == 0
  ((old, before, new),) = moves
  assert before.tolist() == [0, 1, 2, *range(4, 16), *[-1] * 10] and old.shape[0] == 16 and new.shape[0] == 32
  np.testing.assert_array_equal(new[:15], old[before[:15]])
  assert old.any(axis=1).all() and not new[15:].any()
  log = capfd.readouterr().err
  assert "checkpoint 3 cannot be read" not in log and "resumes at step 3" in log
  steps = {line["step"]: line["epoch"] for line in lines(workdir) if "loss" in line}
  assert steps == {1: 0, 2: 0, 3: 1, 4: 1, 5: 1, 6: 1, 7: 2, 8: 2, 9: 2}  # the second epoch starts again after step 3
  first, second = json.loads((workdir / "images.json").read_text())["versions"]
  assert (first["images"], first["step"]) == (16, 0) and second["date"]
  names = ("images", "step", "epoch", "added", "removed", "renamed")
  assert [second[name] for name in names] == [25, 3, 1, 10, 1, 0]
  assert '"accept' not in (workdir / "config.json").read_text()

  os.rename(root.parent, tmp_path / "moved")
  monkeypatch.chdir(tmp_path / "moved")
  assert main.main([*words, "--config.train.epochs=4"]) == 0  # the same images at another place need no flag
  assert "the same training images at another place" in capfd.readouterr().err
  assert json.loads((workdir / "config.json").read_text())["data"]["path"] == f"{tmp_path}/moved/images"
  assert {line["step"] for line in lines(workdir) if "loss" in line} == set(range(1, 13))
