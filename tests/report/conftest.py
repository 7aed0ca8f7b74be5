"""Tiny runs that the tests of reports share."""

import pathlib

import numpy as np
import pytest

from jaxssl import main as command
from jaxssl.report import page
from jaxssl.train import loop
from tests import devices, flags
from tests.data.fixtures import coded, folder
from tests.tiny_run import QUICK_VIEWS

CONFIG = pathlib.Path(__file__).parents[2] / "configs/nnboot.py"
SHORT = [f"--config={CONFIG}:runlocal", "--config.train.epochs=2", "--config.evals.every=1", "--config.evals.final=knn,quality"]
SHORT += [*QUICK_VIEWS, "--config.evals.baseline_seeds=1"]
NASTY = "<b>\"zwei\" & 'drei'"  # a class name that HTML must escape
CLASSES = ("eins", NASTY, "vier")


def images(count: int, seed: int) -> dict[str, bytes]:
  """Returns encoded images of three classes under noise, by class folder and name."""
  random, files = np.random.default_rng(seed), {}
  bases = np.random.default_rng(0).integers(0, 256, (len(CLASSES), 28, 28), dtype=np.uint8)
  for i in range(count):
    noise = random.integers(0, 256, (28, 28), dtype=np.uint8)
    files[f"{CLASSES[i % 3]}/{i}.png"] = coded(bases[i % 3] // 2 + noise // 2, "PNG")
  return files


def train(workdir: pathlib.Path, path: str, *more: str) -> pathlib.Path:
  """Trains a tiny run on a folder, on one device, and writes its report."""
  config, _ = flags.parse([*SHORT, "--config.data.limit=0", "--config.data.source=folder", f"--config.data.path={path}", *more])
  with devices.only(1):
    assert loop.train(config, workdir, report=page.write_report) == 0
  return workdir


@pytest.fixture(scope="session")
def labeled(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """Trains a run with labels, a test set and bootstrapping, which writes its own report."""
  root = tmp_path_factory.mktemp("labeled")
  files = {f"{split}/{name}": data for split, n in (("train", 72), ("test", 30)) for name, data in images(n, n).items()}
  naive = ["--config.bootstrap.policy=naive", "--config.bootstrap.window=1", "--config.bootstrap.k=3"]
  return train(root / "run <1>", folder(root / "images", files), *naive)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """Trains a vision transformer without labels, test set, bootstrapping and baselines, with images on the host."""
  root = tmp_path_factory.mktemp("plain")
  where = folder(root / "images", {name.rpartition("/")[2]: data for name, data in images(66, 2).items()})
  vit = ["--config.model.name=vit_ti", "--config.model.depth=1", "--config.model.patch=4", "--config.evals.baselines=false"]
  train(
    root / "plain", where, *vit, "--config.data.placement=host", "--config.bootstrap.policy=off", "--config.evals.report=false"
  )
  assert command.main(["report", f"--workdir={root / 'plain'}"]) == 0
  return root / "plain"
