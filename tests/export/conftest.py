"""Workdirs of all models, made once per file of tests."""

import functools

import pytest

from jaxssl.models import resnet
from tests.export import fixtures


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  """A function that returns the workdir of a model."""
  folder = tmp_path_factory.mktemp("runs")
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(resnet.SIZES, "resnet50", (True, (1, 1, 1, 1)))  # compiles in a fifth of the time
    yield functools.cache(lambda name: fixtures.run(folder / name, fixtures.MODELS[name]))
