"""Runs that start from a weights file."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy

import jaxssl
from jaxssl import main as command
from jaxssl.core.types import Variables
from jaxssl.evals.load_run import load
from jaxssl.models import resnet
from jaxssl.pretrained import init_from
from jaxssl.pretrained.read import read_tensors
from jaxssl.pretrained.torch_names import to_torch
from jaxssl.train import loop
from jaxssl.train.setup import Experiment
from jaxssl.workdir.checkpoint import Checkpoints
from jaxssl.workdir.workdir import Workdir
from tests import flags, tiny_run
from tests.pretrained.fixtures import family, random_encoder, write
from tests.test_main import CONFIG
from tests.tiny_run import QUICK_VIEWS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_device")]
SHORT = [f"{CONFIG}:runlocal", "--config.data.limit=32", "--config.train.epochs=1", "--config.model.width=0.0625"]
SHORT += ["--config.evals.periodic=", "--config.evals.final=", "--config.evals.report=false"]
SHORT += ["--config.optim.schedule.warmup_epochs=0", "--config.bootstrap.policy=off", *QUICK_VIEWS]


@pytest.fixture
def weights(tmp_path, monkeypatch):
  """Writes a weights file of a ResNet of two blocks; returns its path and the encoder's tensors in it."""
  monkeypatch.setitem(resnet.SIZES, "resnet10", (False, (1, 1)))
  config, _ = flags.parse(SHORT)
  tensors = to_torch(random_encoder(config.model, 28, config.data.channels))
  return write(tmp_path / "weights", family("mocov3", tensors)), tensors


def weights_of(params):
  """Returns the encoder's weights, without its statistics."""
  return to_torch(Variables(params=params, stats={}))


def same(actual, tensors):
  jax.tree.map(np.testing.assert_array_equal, actual, tensors)


def test_student_and_teacher_start_from_the_file_and_the_heads_are_random(weights, tmp_path):
  path, tensors = weights
  frozen = "--config.optim.freeze_encoder_epochs=1"
  config, _ = flags.parse([*SHORT, f"--config.model.init_from={path}", frozen])
  run = Experiment(config, tmp_path)
  state = run.init()
  same(to_torch(state.student), tensors)
  same(to_torch(state.teacher), tensors)
  same(to_torch(run.untrained(config.train.seed)), tensors)
  scratch = Experiment(flags.parse(SHORT)[0], tmp_path).init()
  jax.tree.map(np.testing.assert_array_equal, state.student.params["projector"], scratch.student.params["projector"])
  assert any((a != tensors[n]).any() for n, a in to_torch(scratch.student).items())

  heads = jax.device_get(state.student.params["projector"])
  (rows,) = run.batches(state, 0, 0)
  state = run.step(run.start_epoch(state, 0), rows)[0]  # in the first epoch, only the heads train
  student, teacher = (jax.device_get(network.params) for network in (state.student, state.teacher))
  for name, x in weights_of(student).items():
    np.testing.assert_array_equal(x, tensors[name])
  for name, x in weights_of(teacher).items():
    np.testing.assert_allclose(x, tensors[name], rtol=1e-6, atol=1e-7)  # the average of equal values is rounded
  assert any((a != b).any() for a, b in zip(jax.tree.leaves(heads), jax.tree.leaves(student["projector"]), strict=True))
  state = run.step(state, rows)[0]  # the second epoch, since each has one step
  assert any((x != tensors[n]).any() for n, x in weights_of(state.student.params).items())


def test_a_run_copies_the_weights_and_resumes_without_the_file(weights, tmp_path, capfd):
  path, tensors = weights
  words = [*SHORT, f"--config.model.init_from={path}", f"--workdir={tmp_path / 'run'}", "--config.evals.periodic=quality"]
  config, workdir = flags.parse([*words, "--config.evals.final=quality"])
  assert loop.train(config, workdir) == 0
  count = len(tensors)
  log = capfd.readouterr().err.splitlines()
  assert f"{count} of {count} tensors of {path} (state_dict.module.momentum_encoder.)" in log
  same(read_tensors(Workdir(workdir).imported), tensors)
  path.unlink()
  assert loop.train(config, workdir) == 0  # resumes without the file
  subjects = {m["subject"] for m in json.loads((workdir / "results.json").read_text())["measurements"]}
  assert "imported" in subjects and "untrained" not in subjects
  before = load(workdir).untrained
  assert before.subject == "imported"
  same(to_torch(before.variables), tensors)


def test_a_start_that_was_cut_short_leaves_no_weights_to_start_from(weights, tmp_path):
  path, tensors = weights
  config, workdir = flags.parse([*SHORT, f"--config.model.init_from={path}", f"--workdir={tmp_path / 'run'}"])
  workdir.mkdir()
  others = {name: np.zeros_like(x) for name, x in tensors.items()}
  safetensors.numpy.save_file(others, Workdir(workdir).imported)
  run = Experiment(config, workdir)
  same(to_torch(run.init().student), tensors)
  init_from.keep(run.imported, workdir)
  same(read_tensors(Workdir(workdir).imported), tensors)
  Workdir(workdir).write_config(config)  # from now on, the copy is what the run starts from
  init_from.keep(others, workdir)
  path.unlink()
  same(to_torch(Experiment(config, workdir).init().student), tensors)


def test_errors_are_one_line_and_create_no_run(weights, tmp_path, capfd):
  path, _ = weights
  for more, message in (
    (["--config.model.stem=imagenet"], "model.stem=cifar"),
    (["--config.model.init_from=none"], "none: does not exist"),
  ):
    words = [*SHORT, f"--config.model.init_from={path}", f"--workdir={tmp_path / 'run'}", *more]
    assert command.main(words) == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and message in errors[0]
    assert not (tmp_path / "run" / "config.json").exists() and not Workdir(tmp_path / "run").imported.exists()


def test_a_run_starts_from_another_run(tmp_path, caplog, fails):
  """The encoder is that of the other run's teacher; with init_heads the heads are, too."""
  caplog.set_level("INFO", "jaxssl")
  other = tiny_run.make(tmp_path / "other", words=tiny_run.TINY)
  student, teacher, step = Checkpoints(Workdir(other).checkpoints, 1).weights()
  words = [f"{CONFIG}:runlocal", *tiny_run.TINY, "--config.data.limit=32", f"--config.model.init_from={other}"]
  for more, expected in ((["--config.model.init_heads=true"], True), ([], False)):
    state = Experiment(flags.parse([*words, *more])[0], tmp_path / str(expected)).init()
    for network in (state.student, state.teacher):
      same(to_torch(network), to_torch(teacher))
      equal = jax.tree.map(lambda a, b: bool((a == b).all()), network.params["projector"], teacher.params["projector"])
      assert all(jax.tree.leaves(equal)) is expected
  assert f"{other}: the teacher after {step} steps" in caplog.text
  student_only = json.loads((other / "config.json").read_text())
  student_only["evals"]["network"] = "student"
  (other / "config.json").write_text(json.dumps(student_only))
  same(to_torch(Experiment(flags.parse(words)[0], tmp_path).init().teacher), to_torch(student))

  heads = "--config.model.init_heads=true"
  fails([*words, heads, "--config.model.projector.out=48", f"--workdir={tmp_path / 'a'}"], "model.init_heads=True: ")
  fails([*words[:-1], heads, f"--workdir={tmp_path / 'b'}"], "model.init_heads=True: there is no model.init_from")
  model = jaxssl.load_pretrained(other)
  same(to_torch(model.weights), to_torch(student))
  assert "projector" not in model.weights.params and model.embed(np.zeros((2, 28, 28, 1), np.uint8)).shape == (2, 192)
