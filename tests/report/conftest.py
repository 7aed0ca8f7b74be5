"""The runs that the tests of this room share."""

import pathlib

import pytest

from tests.data.made import folder
from tests.report.made import pictures, train


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """A run with labels, a test split and bootstrapping."""
  root = tmp_path_factory.mktemp("labelled")
  files = {f"{split}/{name}": data for split, n in (("train", 72), ("test", 30)) for name, data in pictures(n, n).items()}
  return train(root / "run <1>", folder(root / "pictures", files), "--config.bootstrap.window=1", "--config.bootstrap.k=3")


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """A run of a vision transformer without labels, test split or bootstrapping, its pictures read on the host."""
  root = tmp_path_factory.mktemp("plain")
  where = folder(root / "pictures", {name.rpartition("/")[2]: data for name, data in pictures(66, 2).items()})
  vit = ["--config.model.name=vit_ti", "--config.model.depth=1", "--config.model.patch=4"]
  return train(root / "plain", where, *vit, "--config.data.placement=host", "--config.bootstrap.policy=off")
