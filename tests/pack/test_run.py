"""A run on packed images, interrupted and resumed, has the losses of a run on their source, bit for bit."""

import functools
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

from jaxssl import main
from jaxssl.pack import inputs
from jaxssl.pack.pack import pack
from jaxssl.train.setup import Experiment
from tests.pack import sources
from tests.signals import DIES_IN_A_SAVE
from tests.test_main import CONFIG, ROOT, losses
from tests.tiny_run import LEAN_VIEWS, VIT

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_device")]
KINDS = (*sources.KINDS, "tfds tfrecord", "tfds array_record")
WORDS = [f"{CONFIG}:runlocal", *VIT, *LEAN_VIEWS] + [
  f"--config.{word}"
  for word in (
    "data.limit=0", "data.placement=host", "train.epochs=4", "train.batch_size=4", "train.checkpoint_every_steps=2",
    "evals.baselines=false", "evals.periodic=", "evals.final=quality", "evals.report=false",
  )
]  # fmt: skip


def killed(words: list[str], folder: pathlib.Path, monkeypatch) -> None:
  """Trains in a process that is killed in a save, after step 6."""
  compiled = shutil.copytree(os.environ["JAX_COMPILATION_CACHE_DIR"], folder / "compiled")
  environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(compiled)}
  ended = subprocess.run(
    [sys.executable, "-c", DIES_IN_A_SAVE, *words], cwd=ROOT, env=environment, capture_output=True, timeout=300
  )
  assert ended.returncode == -signal.SIGKILL


def crashed(words: list[str], folder: pathlib.Path, monkeypatch) -> None:
  """Trains in this process, in which the sixth step fails."""
  step, steps = Experiment.step, []

  def fail(run, state, rows):
    steps.append(rows)
    if len(steps) == 6:
      raise ZeroDivisionError
    return step(run, state, rows)

  with monkeypatch.context() as patch:
    patch.setattr(Experiment, "step", fail)
    with pytest.raises(ZeroDivisionError):
      main.main(words)


# A kill costs the start of a process, and does not depend on what the images were packed from.
@pytest.mark.parametrize(
  "kind, interrupt",
  [("folder", crashed), pytest.param("folder", killed, marks=pytest.mark.full)]
  + [pytest.param(kind, crashed, marks=pytest.mark.full) for kind in KINDS if kind != "folder"],
)
def test_an_interrupted_run_on_packed_images_equals_one_on_their_source(kind, interrupt, tmp_path, monkeypatch, capfd):
  make = functools.partial(sources.tfds, file_format=kind.split()[-1]) if kind.startswith("tfds") else sources.KINDS[kind]
  changes = make(tmp_path, sources.FILES)
  data = changes.pop("data")
  fields = inputs.data_config(data, changes)
  words = [f"--config.data.{name}={getattr(fields, name)}" for name in ("source", "path", "list_path")]
  assert main.main([*WORDS, *words, f"--workdir={tmp_path}/whole"]) == 0
  pack(data, tmp_path / "packed", shorter_side=0, num_shards=3, num_workers=1, changes=changes)
  words = [*WORDS, "--config.data.source=packed", f"--config.data.path={tmp_path}/packed", f"--workdir={tmp_path}/stopped"]
  interrupt(words, tmp_path, monkeypatch)
  capfd.readouterr()
  assert main.main(words) == 0
  assert "resumes at step" in capfd.readouterr().err
  assert losses(tmp_path / "stopped") == losses(tmp_path / "whole") and len(losses(tmp_path / "whole")) == 12
