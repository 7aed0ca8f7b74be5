"""A method in a user's config file: every command executes the file, but not if it has changed."""

import pathlib
import shutil
import subprocess
import sys

import pytest

import jaxssl
from jaxssl import main
from jaxssl.config import plugins
from jaxssl.core import registry
from jaxssl.methods import METHODS
from jaxssl.report import page
from tests import test_methods
from tests.extending_page import example
from tests.tiny_run import TINY

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[1]
RECIPE = "simclr.py --config.method={'name':'uniform'}"
SMALL = ["--config.data.limit=64", "--config.train.batch_size=16", "--config.train.epochs=1", "--config.evals.final=knn"]
SMALL += ["--config.evals.baselines=false", "--config.evals.report=false", *TINY]


def reset():
  """Unregisters the method of the file, as at the start of another process."""
  METHODS.pop("uniform", None)
  registry.registered.clear()
  plugins._executed.clear()
  plugins._used.clear()


@pytest.fixture
def config_file(tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  (tmp_path / "uniform.py").write_text(example("Add a method"))
  yield tmp_path / "uniform.py"
  reset()


def test_the_documented_method_passes_the_tests_of_every_method(config_file, tmp_path):
  plugins.execute(config_file, "--config")
  test_methods.test_the_gradient_lowers_the_loss(RECIPE)
  test_methods.test_jit_changes_nothing(RECIPE)
  test_methods.test_interrupted_runs_and_permuted_labels_change_no_bit(RECIPE, tmp_path / "run")


@pytest.mark.usefixtures("one_device")
def test_every_command_executes_the_file(config_file, tmp_path, capfd, monkeypatch):
  monkeypatch.setattr(page, "MAPPED", 50)  # t-SNE of more images takes seconds
  run = tmp_path / "run"
  assert main.main(["train", f"--config={config_file}:runlocal", f"--workdir={run}", *SMALL]) == 0
  commands = [
    ["evaluate", "knn", f"--workdir={run}"],
    ["report", f"--workdir={run}"],
    ["embed", f"--workdir={run}", f"--out={tmp_path / 'features.npz'}"],
    ["export", f"--workdir={run}", "--format=flax", f"--out={tmp_path / 'exported'}"],
  ]
  for command in commands:
    reset()
    assert main.main(command) == 0, (command, capfd.readouterr().err)

  moved = tmp_path / "moved" / "uniform.py"
  moved.parent.mkdir()
  shutil.copy(config_file, moved)
  config_file.write_text(config_file.read_text() + "\nraise SystemError('must not run')\n")
  reset()
  capfd.readouterr()
  assert main.main(commands[0]) == 2
  assert f"error: plugins={config_file}: not executed" in capfd.readouterr().err
  config_file.unlink()
  assert main.main(commands[0]) == 2
  assert f"error: plugins={config_file}: no such file; add --plugins FILE" in capfd.readouterr().err
  assert main.main([*commands[0], f"--plugins={moved}"]) == 0, capfd.readouterr().err


def test_two_files_cannot_register_the_same_name(config_file, tmp_path, capfd):
  other = tmp_path / "other.py"
  other.write_text(example("Add a method"))
  for file in (config_file, config_file, other):  # a file may be executed again
    code = main.main(["train", f"--config={file}:runlocal", f"--workdir={tmp_path}", "--config.train.epochs=none"])
    error = capfd.readouterr().err
    assert code == 2
  assert f"method.name=uniform: registered by {config_file} and by {other}; rename one of them" in error


def test_a_file_that_registers_nothing_is_not_a_plugin(tmp_path):
  (tmp_path / "plain.py").write_text("from jaxssl import methods\nfrom jaxssl.evals import evaluator\n")
  script = f"from jaxssl.config import plugins; print(plugins.execute({str(tmp_path / 'plain.py')!r}, '--config')[1])"
  done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
  assert done.stdout.splitlines()[-1] == "False"


def test_a_config_file_whose_module_was_imported_before_is_a_plugin(config_file, tmp_path, monkeypatch):
  monkeypatch.syspath_prepend(tmp_path)
  for name in ("first", "second"):
    (tmp_path / f"{name}.py").write_text("from uniform import Uniform, get_config\n")
  for name in ("first", "first", "second"):  # only the first imports uniform.py
    file = str(tmp_path / f"{name}.py")
    assert jaxssl.load_config(f"{file}:runlocal").plugins == (file,)
  del sys.modules["uniform"]
  assert not jaxssl.load_config(str(ROOT / "configs/simclr.py")).plugins
