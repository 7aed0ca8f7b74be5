"""Training from the command line."""

import json
import pathlib

import pytest

from jaxssl import main as command
from tests.tiny_run import TINY

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = f"--config={ROOT}/configs/nnboot.py"
QUICK = ["--config.data.limit=64", "--config.train.epochs=2", "--config.evals.baselines=false", "--config.evals.report=false"]


def lines(workdir: pathlib.Path) -> list[dict]:
  return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def losses(workdir: pathlib.Path) -> dict[int, float]:
  return {line["step"]: line["loss"] for line in lines(workdir) if "loss" in line}


def measurements(workdir: pathlib.Path) -> list[dict]:
  return json.loads((workdir / "results.json").read_text())["measurements"]


@pytest.mark.usefixtures("one_device")
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, capfd):
  wild = ["optim.lr=1e25", "optim.clip=0.0", "optim.schedule.warmup_epochs=0", "bootstrap.policy=off"]
  words = [f"--config.{word}" for word in wild]
  assert command.main([f"{CONFIG}:runlocal", f"--workdir={tmp_path}", *TINY, *QUICK, *words]) == 3
  assert not any("share_bootstrapped" in line for line in lines(tmp_path))
  message = capfd.readouterr().err
  assert "the loss is nan at step" in message and "Last good checkpoint: step" in message
  assert json.loads((tmp_path / "results.json").read_text())["finished"] is False


@pytest.mark.parametrize(
  "words, message",
  [
    (["--config.model.name=resnet19"], "model.name='resnet19': unknown; expected convnext_tiny, custom, "),
    (["--config.method.name=dyno"], "method.name='dyno': unknown; expected barlow, "),
    (["--config.data.source=folder", "--config.data.path=/nowhere/at/all"], "data.path=/nowhere/at/all"),
    (["--config.train.batch_size=5000"], "train.batch_size=5000"),
    (
      ["--config.bootstrap.k=300", "--config.train.lower_to_fit=false"],
      "bootstrap.k=300: must lie between 1 and the number of training images, 256",
    ),
    (
      ["--config.evals.knn.k=4001", "--config.train.lower_to_fit=false"],
      "evals.knn.k=4001: out of range; expected 1 to 256, the number of images to compare with",
    ),
    (["--config.views.global.crop_scale=(0.5,2.0)"], "views.global.crop_scale=(0.5, 2.0): expected shares"),
    (["--config.views.globul.size=28"], "views.globul: unknown view group; expected global, "),
    ([f"{CONFIG}:c100"], "recipe c100: unknown; expected cifar10, imagenet, imagenet_resnet50, runlocal, cpu; did you mean "),
  ],
)
def test_errors_are_one_line(words, message, tmp_path, fails):
  fails([f"{CONFIG}:runlocal", f"--workdir={tmp_path}", *words], message)
  assert not (tmp_path / "config.json").exists()  # the corrected command can use the folder
