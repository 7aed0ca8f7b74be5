"""Runs that the tests of reports share."""

import pathlib

import pytest

from jaxssl import main as command
from jaxssl.report import page
from tests import devices
from tests.data.fixtures import folder
from tests.report.fixtures import images, train


@pytest.fixture(scope="session")
def labeled(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """Trains a run with labels, a test set and bootstrapping, which writes its own report."""
  root = tmp_path_factory.mktemp("labeled")
  files = {f"{split}/{name}": data for split, n in (("train", 72), ("test", 30)) for name, data in images(n, n).items()}
  naive = ["--config.bootstrap.policy=naive", "--config.bootstrap.window=1", "--config.bootstrap.k=3"]
  with devices.only(1):
    return train(root / "run <1>", folder(root / "images", files), *naive)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """Trains a vision transformer without labels, test set, bootstrapping and baselines, with images on the host."""
  root = tmp_path_factory.mktemp("plain")
  where = folder(root / "images", {name.rpartition("/")[2]: data for name, data in images(66, 2).items()})
  vit = ["--config.model.name=vit_ti", "--config.model.depth=1", "--config.model.patch=4", "--config.evals.baselines=false"]
  with pytest.MonkeyPatch.context() as patch, devices.only(1):
    patch.setattr(page, "write_report", lambda *_: None)
    train(root / "plain", where, *vit, "--config.data.placement=host", "--config.bootstrap.policy=off")
  assert command.main(["report", f"--workdir={root / 'plain'}"]) == 0
  return root / "plain"
