"""Mistakes that are reported before images are opened or downloaded."""

import pytest

from jaxssl.train import setup
from tests.test_main import CONFIG
from tests.tiny_run import TINY

RUN = [f"{CONFIG}:runlocal", *TINY]


@pytest.mark.parametrize(
  "words, message",
  [
    (["method.name=dyno"], "method.name='dyno': unknown; expected barlow, "),
    (["method.temprature=1"], "method.temprature"),
    (["views.globul.size=28"], "views.globul: unknown view group; expected global, "),
    (["train.epochs=-3"], "train.epochs=-3: out of range; expected at least 1"),
    (["train.batch_size=0"], "train.batch_size=0: out of range; expected at least 1"),
    (["bootstrap.k=0"], "bootstrap.k=0: out of range; expected at least 1"),
    (
      ["optim.schedule.warmup_epochs=30", "train.lower_to_fit=false"],
      "optim.schedule.warmup_epochs=30.0: out of range; expected 0 to 3, the length of the run (train.epochs=3)",
    ),
    (
      ["method.teacher_temperature.warmup_epochs=4", "train.lower_to_fit=false"],
      "method.teacher_temperature.warmup_epochs=4.0: out of range; expected 0 to 3, the length of the run (train.epochs=3)",
    ),
    (
      ["method.teacher_temperature.warmup_epochs=1", "method.teacher_temperature.start=0"],
      "method.teacher_temperature.start=0.0: out of range; expected a positive number",
    ),
    (["method.teacher_temperature=0"], "method.teacher_temperature.base=0.0: out of range; expected a positive number"),
    (
      ["views.global.count=1", "views.global.partner=false", "bootstrap.policy=off"],
      "views.global.count=1: method.name=dino compares different views; expected at least 2",
    ),
    (["views.local.size=10"], "model.patch=14 does not divide an image of 10 x 10; use a multiple of 14"),
    (["train.accumulate=4", "model.bn_groups=32"], "model.bn_groups=32: does not divide a batch of 16 rows; "),
    (["evals.every=0"], "evals.every=0: out of range; expected at least 1"),
    (["evals.lowshot.shots=2.5"], "evals.lowshot.shots=2.5: out of range; expected a fraction below 1, or a whole "),
    (
      ["evals.lowshot.lists=a/x.txt,b/x.txt"],
      "b/x.txt'): out of range; expected files of different names",
    ),
    (
      ["evals.finetune.crop_scale=1,0.5"],
      "evals.finetune.crop_scale=(1.0, 0.5): out of range; expected the smaller area first",
    ),
    (["evals.linear.solvers=custom", "evals.linear.custom.lr="], "evals.linear.custom.lr=(): out of range; expected one lear"),
    (
      ["evals.linear.solvers=custom", "evals.linear.custom.epochs=3", "evals.linear.custom.schedule.warmup_epochs=4"],
      "evals.linear.custom.schedule.warmup_epochs=4.0: out of range; expected 0 to 3",
    ),
    (["evals.linear.solvers=adam"], "evals.linear.solvers[0]='adam': unknown value; expected lbfgs, sgd, augmented, resa, "),
    (
      ["evals.resize=20"],
      "evals.resize=20: out of range; expected 0 (the whole image), or at least 28, the size that is eva",
    ),
    (["evals.knn.k=0"], "evals.knn.k=0: out of range; expected 1 or more"),
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
