"""Training on user images."""

import json

import jax
import numpy as np
import pytest
import tifffile

from jaxssl import main as command
from jaxssl.train import loop
from jaxssl.train.setup import Experiment
from jaxssl.workdir.checkpoint import Checkpoints
from tests import flags
from tests.data.fixtures import coded, folder
from tests.test_main import CONFIG, ROOT, lines, measurements
from tests.tiny_run import TINY, VIT

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_device")]
SHORT = [f"{CONFIG}:runlocal", "--config.data.limit=0"]
SHORT += ["--config.train.epochs=2", "--config.evals.baselines=false", "--config.evals.report=false"]


def digits(count: int, seed: int = 0) -> np.ndarray:
  return np.random.default_rng(seed).integers(0, 256, (count, 28, 28), dtype=np.uint8)


@pytest.mark.parametrize("placement", [pytest.param("device", marks=pytest.mark.full), "host"])
def test_a_folder_without_labels_and_with_a_broken_image_trains(placement, tmp_path, capfd):
  files = {f"{i:03}.png": coded(image, "PNG") for i, image in enumerate(digits(120))}
  files["broken.png"] = files["003.png"][:60]
  where = folder(tmp_path / "images", files)
  source = ["--config.data.source=folder", f"--config.data.path={where}", f"--config.data.placement={placement}"]
  config, workdir = flags.parse([*SHORT, *TINY, *source, f"--workdir={tmp_path / 'run'}"])
  assert loop.train(config, workdir) == 0
  assert [line["step"] for line in lines(workdir) if "loss" in line] == list(range(1, 7))  # 121 images: 3 batches of 32, twice
  log = capfd.readouterr().err
  assert "no labels" in log and "evaluations that need labels, such as k-NN, are skipped" in log
  assert log.count("broken.png") == 1 and "broken.png" in (workdir / "bad_files.txt").read_text()
  assert json.loads((workdir / "results.json").read_text())["bad_images"] == 1
  names = {m["name"] for m in measurements(workdir)}
  assert {"effective_rank", "neighbor_churn", "share_bootstrapped"} <= names
  assert not any("knn" in name or "label" in name for name in names)


@pytest.mark.parametrize("restored", [False, True])
def test_a_step_is_compiled_once(restored, tmp_path):
  config, _ = flags.parse([f"{CONFIG}:runlocal", "--config.data.limit=64", "--config.bootstrap.window=1", *TINY])
  run = Experiment(config, tmp_path)
  state = run.init()
  if restored:
    checkpoints = Checkpoints(tmp_path / "checkpoints", 1)
    checkpoints.save(0, state)
    checkpoints.close()
    checkpoint = Checkpoints(tmp_path / "checkpoints", 1).restore(run.state_shapes)
    assert checkpoint is not None
    state, _ = checkpoint
  compiled = []

  def listen(event: str, duration: float, **_: object) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
      compiled.append(duration)

  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    for epoch in range(3):
      if epoch == 1:
        assert compiled
        compiled.clear()
      state = run.start_epoch(state, epoch)
      for rows in run.batches(state, epoch, 0):
        state, logs = run.step(state, rows)
      jax.device_get(dict(logs))
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)
  assert not compiled  # after the first epoch nothing is compiled, neither the step nor anything around it


@pytest.mark.parametrize("placement,kind", [("device", "npy"), pytest.param("host", "tif", marks=pytest.mark.full)])
def test_many_channels_of_sixteen_bits_train(placement, kind, tmp_path, capfd):
  rng, where = np.random.default_rng(0), tmp_path / "cells"
  for k in range(96):
    image = rng.integers(0, 4096, (5, 30, 30)).astype(np.uint16)
    file = where / ("train" if k < 64 else "test") / "ab"[k % 2] / f"{k:02}.{kind}"
    file.parent.mkdir(parents=True, exist_ok=True)
    if kind == "npy":
      np.save(file, image.transpose(1, 2, 0))
    else:
      tifffile.imwrite(file, image, photometric="minisblack")
  workdir, short = tmp_path / "run", [f"--config={ROOT}/configs/moco.py:runlocal", *SHORT[1:], *VIT, "--config.train.epochs=1"]
  fields = {"source": "folder", "path": where, "placement": placement, "channels": 5, "mean": "", "std": ""}
  words = [*short, *(f"--config.data.{name}={value}" for name, value in fields.items()), f"--workdir={workdir}"]
  words += ["--config.evals.final=knn", f"--config.evals.report={placement == 'device'}"]
  assert command.main(words) == 0
  log = capfd.readouterr().err
  assert "data.channels=5: views are made without saturation, hue, gray" in log and "measured on 64 of 64" in log
  assert "data.bit_depth=12, decided on 64 of 64 training images" in log
  data = json.loads((workdir / "config.json").read_text())["data"]
  assert len(data["mean"]) == len(data["std"]) == 5 and 0.45 < min(data["mean"]) < 0.55 and data["bit_depth"] == 12
  if placement == "host":
    return
  assert "Images show the first three, as red, green and blue, of 5 channels; " in (workdir / "report.html").read_text()
  assert command.main(words) == 0  # resumes with the measured values
  log = capfd.readouterr().err
  assert "measured on" not in log and "decided on" not in log
  assert command.main(["evaluate", "knn", f"--workdir={workdir}", f"--data.path={where}"]) == 0
  assert command.main(["evaluate", "knn", f"--workdir={workdir}", "--data.bit_depth=8"]) == 2
