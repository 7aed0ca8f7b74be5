"""Workdirs of all models, made once per file of tests."""

import pytest

from jaxssl.models import resnet
from tests.export import fixtures


class Runs(dict):
  """Workdirs by the name of their model, created on first use."""

  def __init__(self, folder):
    super().__init__()
    self.folder = folder

  def __missing__(self, name):
    self[name] = fixtures.run(self.folder / name, fixtures.MODELS[name])
    return self[name]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, compiled_once):
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(resnet.SIZES, "resnet50", (True, (1, 1, 1, 1)))  # compiles in a fifth of the time
    yield Runs(tmp_path_factory.mktemp("runs"))
