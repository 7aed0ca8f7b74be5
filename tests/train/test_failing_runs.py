"""Runs that fail, each in its own way, and the alerts they raise."""

import pathlib
import time

import pytest

from jaxssl.core import exit_codes, json_io
from jaxssl.data.arrays import ArraySource
from jaxssl.losses.distillation import cosine_distance
from jaxssl.methods.simsiam import SimSiam
from jaxssl.ops.nearest import normalize
from jaxssl.train import loop
from tests import flags
from tests.train.fixtures import Encoder, plain, use_encoder

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
QUICK = ["train.epochs=3", "health.patience=8", "evals.baselines=false", "evals.report=false"]
QUICK += ["evals.periodic=", "evals.final="]
FAST = ["optim.schedule.warmup_epochs=0"]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_device")]


def alerts(recipe: str, workdir: pathlib.Path, *words: str, shrink: bool = True) -> tuple[int, dict[str, str]]:
  """Trains, by default a tiny encoder on plain views; returns the exit code and the alerts with their reasons."""
  flag = [f"--config={CONFIGS / recipe}:runlocal", f"--workdir={workdir}"]
  config, workdir = flags.parse([*flag, *(f"--config.{word}" for word in (*QUICK, *words))])
  with pytest.MonkeyPatch.context() as patch:
    if shrink:
      use_encoder(patch, lambda dtype: Encoder(8, dtype))
    code = loop.train(plain(config) if shrink else config, workdir)
  return code, {line["alert"]: line["reason"] for line in json_io.lines(workdir / "alerts.jsonl") if line["active"]}


def test_too_high_a_learning_rate_collapses_dimensions(tmp_path):
  code, reasons = alerts("simclr.py", tmp_path, "optim.lr=100", *FAST)
  assert code == 0 and "effective rank of the" in reasons["dimensional collapse"]


def test_simsiam_without_its_stop_gradient_collapses_and_stops(tmp_path, monkeypatch):
  def loss(self, student, teacher, memory, step):
    return 0.5 * cosine_distance(normalize(student.prediction), normalize(student.projection[::-1])), {}

  monkeypatch.setattr(SimSiam, "loss", loss)
  code, reasons = alerts("simsiam.py", tmp_path, "optim.lr=3", "health.stop=dimensional collapse", "train.epochs=6", *FAST)
  assert code == exit_codes.DIVERGED and "dimensional collapse" in reasons  # the alert stopped the run
  assert loop.results.read(tmp_path / "results.json")["finished"] is False


def test_naive_bootstrapping_from_the_start_has_stale_neighbors(tmp_path):
  _, reasons = alerts("nnboot.py", tmp_path, "bootstrap.policy=naive", "bootstrap.window=1", shrink=False)
  assert "take a view from a neighbor" in reasons["neighbors stale"]


def test_a_warm_teacher_is_uniform_and_one_without_a_center_uses_few_prototypes(tmp_path):
  warm = ["method.centering=mean", "method.teacher_temperature=10.0", "bootstrap.policy=off"]
  _, reasons = alerts("nnboot.py", tmp_path / "warm", *warm)
  assert "their entropy is 100.0% of its maximum" in reasons["teacher uniform"]
  still = ["method.center_momentum=1.0", "method.teacher_temperature=0.01", "optim.lr=0.02"]
  _, reasons = alerts("dino.py", tmp_path / "still", *still, *FAST)
  assert "of 64 prototypes are used" in reasons["one prototype"] and "hardly differ" in reasons["collapsing"]


def test_a_slow_disk_raises_the_alert_of_waiting_for_data(tmp_path, monkeypatch):
  read = ArraySource.read

  def slow(self, index):
    time.sleep(0.015)
    return read(self, index)

  monkeypatch.setattr(ArraySource, "read", slow)
  small = ["data.limit=64", "train.batch_size=16", "train.epochs=4"]
  _, reasons = alerts("byol.py", tmp_path, "data.placement=host", "data.workers=1", *small)
  assert "of the time: run jaxssl pack, raise data.workers" in reasons["waiting for data"]
