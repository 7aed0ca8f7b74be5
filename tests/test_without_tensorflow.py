"""Without TensorFlow, as on Python 3.14, runs with resident images train, and other sources raise one-line errors."""

import pathlib
import sys

import numpy as np
import pytest

from jaxssl import main
from jaxssl.data import input_pipeline
from tests.tiny_run import TINY

pytestmark = pytest.mark.slow

CONFIG = pathlib.Path(__file__).parent.parent / "configs/nnboot.py"
REASON = "error: data.placement=host and data.source=tfds need TensorFlow, which is not installed"


@pytest.fixture(autouse=True)
def without_tensorflow(monkeypatch):
  for name in ("tensorflow", "tensorflow_datasets", "clu"):
    monkeypatch.setitem(sys.modules, name, None)
  input_pipeline.tensorflow.cache_clear()
  yield
  input_pipeline.tensorflow.cache_clear()


def run(tmp_path, *words: str) -> int:
  short = ["--config.train.epochs=1", "--config.data.limit=64", "--config.evals.report=false", "--config.evals.baselines=false"]
  short += ["--config.evals.final=quality"]
  return main.main([f"--config={CONFIG}:runlocal", f"--workdir={tmp_path / 'run'}", *TINY, *short, *words])


def test_a_run_with_images_on_the_device_trains(tmp_path, capfd, one_device):
  assert run(tmp_path) == 0
  assert "no TensorBoard events: clu or tensorflow is not installed" in capfd.readouterr().err
  assert (tmp_path / "run/results.json").exists() and not (tmp_path / "run/tensorboard").exists()


@pytest.mark.parametrize("fields", [{"placement": "host"}, {"source": "tfds", "path": "cifar10"}])
def test_the_host_placement_and_tfds_are_one_line_errors(fields, tmp_path, capfd, one_device):
  assert run(tmp_path, *(f"--config.data.{name}={value}" for name, value in fields.items())) == 2
  log = capfd.readouterr().err
  assert REASON in log and "Traceback" not in log


def test_inspect_skips_the_timing(tmp_path, capfd, one_device):
  for k in range(20):
    np.save(tmp_path / f"{k}.npy", np.random.default_rng(k).integers(0, 256, (32, 32, 3), np.uint8))
  assert main.main(["inspect", f"--data={tmp_path}", "--no-estimate"]) == 0
  assert "reading: not timed: data.placement=host" in capfd.readouterr().out
