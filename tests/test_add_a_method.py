"""Does what docs/add_a_method.md says."""

import pathlib
import re

import pytest

from jaxssl import methods
from tests import test_methods

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "add_a_method.md"


@pytest.fixture
def recipe(monkeypatch):
  own, entry, row = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
  names: dict = {}
  monkeypatch.setattr(methods, "METHODS", dict(methods.METHODS))
  exec(compile(own, "uniform.py", "exec"), names)
  exec(entry, {**names, "METHODS": methods.METHODS})
  rows: dict = {}
  exec(row, {"ROWS": rows})
  return rows["uniform"][0]


def test_the_page_makes_a_method_that_passes_the_battery(recipe, tmp_path):
  assert "uniform" in methods.METHODS
  test_methods.test_the_gradient_lowers_the_loss(recipe)
  test_methods.test_jit_changes_nothing(recipe)
  test_methods.test_interrupted_runs_and_permuted_labels_change_no_bit(recipe, tmp_path)
