"""The wheel works without the repository: recipes, training, evaluation, export and report."""

import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig

import pytest

ROOT = pathlib.Path(__file__).parent.parent
SOURCES = ("jaxssl", "configs", "pyproject.toml", "setup.py", "README.md", "LICENSE")

pytestmark = [pytest.mark.full, pytest.mark.xdist_group("wheel")]


def call(*words: object, cwd: pathlib.Path) -> str:
  """Runs a command without the repository on Python's path; returns what it prints, and fails if the command does."""
  environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
  run = subprocess.run(list(map(str, words)), cwd=cwd, env=environment, capture_output=True, text=True)
  assert run.returncode == 0, run.stdout + run.stderr
  return run.stdout + run.stderr


@pytest.fixture(scope="module")
def jaxssl(tmp_path_factory) -> pathlib.Path:
  """Returns the command of a wheel, built from a copy of the repository, in an environment with the same libraries."""
  folder = tmp_path_factory.mktemp("wheel")
  source = folder / "source"
  for name in SOURCES:
    copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
    source.mkdir(exist_ok=True)
    copy(ROOT / name, source / name)
  pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
  call(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source, cwd=folder)
  shutil.rmtree(source)
  call(sys.executable, "-m", "venv", "--without-pip", folder / "env", cwd=folder)
  python = folder / "env/bin/python"
  call(*pip, "--python", python, "install", "--no-deps", "--no-index", *folder.glob("*.whl"), cwd=folder)
  # pip ignores what a .pth names, so that jaxssl itself comes from the wheel
  packages = pathlib.Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
  (packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))
  where = call(python, "-c", "import jaxssl; print(jaxssl.__file__)", cwd=folder)
  assert where.startswith(str(packages))
  return folder / "env/bin/jaxssl"


def test_recipes_are_listed_and_copied_by_name(jaxssl, tmp_path):
  names = [line.split()[0] for line in call(jaxssl, "config", "list", cwd=tmp_path).splitlines() if line]
  assert {"nnboot:cifar10", "resa:imagenet", "unbalanced:isd"} < set(names)
  assert "copied nnboot; edit mine.py" in call(jaxssl, "config", "copy", "nnboot", "mine.py", cwd=tmp_path)
  assert (tmp_path / "mine.py").read_text() == (ROOT / "configs/nnboot.py").read_text()


def test_a_run_is_trained_evaluated_exported_and_reported(jaxssl, tmp_path):
  call(jaxssl, "--config", "nnboot:runlocal", "--config.train.epochs=1", "--config.evals.report=false", cwd=tmp_path)
  run = tmp_path / "runs/nnboot-runlocal"
  assert "knn5_cosine" in call(jaxssl, "evaluate", "knn", "--evals.knn.k=5", "--workdir", run, cwd=tmp_path)
  call(jaxssl, "export", "--workdir", run, "--format", "flax", "--out", "exported", cwd=tmp_path)
  call(jaxssl, "report", "--workdir", run, cwd=tmp_path)
  assert (tmp_path / "exported/config.json").exists() and (run / "report.html").read_text().startswith("<!DOCTYPE html>")
