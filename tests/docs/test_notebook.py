"""The notebook of the documentation runs from top to bottom, and its stored outputs belong to its code."""

import os

import nbformat
import pytest
from nbclient import NotebookClient

from tests.docs.blocks import ROOT

PATH = ROOT / "docs" / "tutorials" / "quickstart.ipynb"


@pytest.fixture
def notebook():
  return nbformat.read(PATH, as_version=4)


def code(notebook):
  return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.slow
def test_the_notebook_runs(notebook, tmp_path, monkeypatch):
  monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
  (parameters,) = (cell for cell in code(notebook) if "parameters" in cell.metadata.get("tags", ()))
  assert parameters.source.startswith("EPOCHS = 30")
  parameters.source = "EPOCHS = 1"
  (images,) = (cell for cell in code(notebook) if "mnist_data()" in cell.source)
  images.source = images.source.replace("mnist_data()", "(values[::10] for values in mnist_data())").replace("::500", "::50")
  for cell in code(notebook):
    cell.source = cell.source.replace("125", "12")
  NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
  printed = "".join(output.get("text", "") for cell in code(notebook) for output in cell.outputs)
  assert "untrained" in printed and "raw pixels" in printed and "linear_lbfgs" in printed and "(2, " in printed
  assert (tmp_path / "exported" / "model.safetensors").exists()


def test_the_stored_notebook_was_executed_in_order_and_shows_its_plots(notebook):
  cells = code(notebook)
  assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
  kinds = [kind for cell in cells for output in cell.outputs for kind in output.get("data", {})]
  assert kinds.count("image/png") >= 3
  assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]


def test_the_stored_notebook_is_small_and_names_no_folder_of_a_machine(notebook):
  assert PATH.stat().st_size < 400_000
  assert str(ROOT) not in PATH.read_text() and "/home/" not in PATH.read_text()
