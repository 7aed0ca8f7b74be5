"""Trains tiny runs for the tests of reports."""

import pathlib

import numpy as np

from jaxssl.config import flags
from jaxssl.report import page
from jaxssl.train import loop
from tests.data.fixtures import coded

CONFIG = pathlib.Path(__file__).parents[2] / "configs/nnboot.py"
SHORT = [f"--config={CONFIG}:runlocal", "--config.train.epochs=2", "--config.evals.every=1", "--config.evals.final=knn,quality"]
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
  """Trains a tiny run on a folder and writes its report."""
  config, _ = flags.parse([*SHORT, "--config.data.limit=0", "--config.data.source=folder", f"--config.data.path={path}", *more])
  assert loop.train(config, workdir, report=page.write_report) == 0
  return workdir
