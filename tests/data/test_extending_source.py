"""The data source of docs/extending.md works as documented."""

import numpy as np
import pytest

from jaxssl.core import UserError
from jaxssl.data.datasets import open_datasets
from jaxssl.data.source import FIELDS, SOURCES
from tests import flags
from tests.extending_page import example

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 40, 40, 3), dtype=np.uint8)


@pytest.fixture
def config_file(tmp_path):
  """Writes the documented config file; unregisters its source afterward."""
  (tmp_path / "my_config.py").write_text(example("Add a data source"))
  yield tmp_path / "my_config.py"
  SOURCES.pop("npz", None), FIELDS.pop("npz", None)


def opened(config_file, *words):
  config, _ = flags.parse([f"--config={config_file}", *words])
  return open_datasets(config.data, config.train.seed)


def test_the_config_file_registers_its_source(config_file, tmp_path):
  np.savez(tmp_path / "images.npz", images=IMAGES, labels=np.arange(12) % 2)
  path = f"--config.data.path={tmp_path / 'images.npz'}"
  datasets = opened(config_file, path)
  assert len(datasets.train) == 12 and datasets.test is None and datasets.train.source.classes == ("0", "1")
  assert (datasets.train.source.read(5) == IMAGES[5]).all() and datasets.train.source.labels[5] == 1
  gray = opened(config_file, path, "--config.data.channels=1", "--config.data.mean=", "--config.data.std=")
  assert gray.train.source.read(5).shape == (40, 40, 1)


def test_its_errors_name_the_field(config_file, tmp_path):
  with pytest.raises(UserError, match="data.path=nowhere.npz: cannot be read: .*No such file"):
    opened(config_file, "--config.data.path=nowhere.npz")
  with pytest.raises(UserError, match="data.test_path=x: data.source=npz does not read it"):
    opened(config_file, "--config.data.path=a", "--config.data.test_path=x")
  with pytest.raises(UserError, match="data.source='npy': unknown; .*npz"):
    opened(config_file, "--config.data.path=a", "--config.data.source=npy")
