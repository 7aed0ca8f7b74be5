"""Workdirs of all models, written once per test module."""

import functools

import pytest

from jaxssl.models import resnet
from tests.export import fixtures


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  """Returns a function from the name of a model to its workdir."""
  folder = tmp_path_factory.mktemp("runs")
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(resnet.SIZES, "resnet50", (True, (1, 1, 1, 1)))  # compiles in a fifth of the time
    yield functools.cache(lambda name: fixtures.run(folder / name, fixtures.MODELS[name]))
