"""Which fields of a run may change when it is resumed, and what is recorded."""

import json
import re

import pytest

from jaxssl import main
from jaxssl.config.absolute import absolute_paths
from jaxssl.config.fields import fields_of
from jaxssl.config.roles import MEANINGS, role_of
from jaxssl.config.schema import Config
from jaxssl.core import UserError
from jaxssl.methods import METHODS
from jaxssl.report import tables
from jaxssl.train.config_changes import ConfigChanges
from jaxssl.workdir.records import RunRecord
from jaxssl.workdir.workdir import Workdir
from tests import flags
from tests.test_main import CONFIG, lines
from tests.tiny_run import TINY

ROLES = {
  "result": "optim.lr method.temperature views.global.flip train.seed data.limit model.drop_path plugins",
  "observe": "train.log_every evals.knn.k evals.baselines health.stop train.max_to_keep data.max_pixels",
  "locate": "data.source data.stage data.path data.test_path data.list_path data.workers train.fsdp",
  "grow": "train.epochs",
  "fixed": "model.width bootstrap.k data.mean train.batch_size optim.name evals.holdout method.queue method.name",
}


@pytest.mark.parametrize("role", ROLES)
def test_each_field_has_a_role(role):
  for field in ROLES[role].split():
    cls, name = (METHODS["mocov2"], field.removeprefix("method.")) if field.startswith("method.") else (Config, field)
    assert field == "method.name" or role_of(cls, name) == role, field
  assert all(role_of(Config, field.path) in MEANINGS for field in fields_of(Config))


def started(tmp_path, *words: str) -> tuple[Workdir, list[str]]:
  """Returns a workdir with the config of such a run, and its flags."""
  words_before = [f"{CONFIG}:runlocal", *words]
  workdir = Workdir(tmp_path / "run")
  workdir.stored()
  workdir.write_config(flags.parse(words_before)[0])
  return workdir, words_before


def compared(workdir: Workdir, words: list[str], accept: bool = False) -> list[str]:
  return [change.field for change in ConfigChanges(workdir, absolute_paths(flags.parse(words)[0]), accept)]


def test_fields_that_do_not_change_what_is_learned_may_differ(tmp_path):
  workdir, words = started(tmp_path, "--config.data.path=/a/b", "--config.data.source=folder")
  assert compared(workdir, words) == []
  assert compared(workdir, [*words, "--config.data.path=/a/b/"]) == []
  assert compared(workdir, [*words, "--config.method.center_momentum=0.9"]) == []  # its default
  differing = [
    "data.workers=3",
    "evals.every=7",
    "evals.knn.k=(5,)",
    "health.patience=9",
    "train.epochs=50",
    "train.log_every=3",
  ]
  assert compared(workdir, [*words, *(f"--config.{word}" for word in differing)]) == [word.split("=")[0] for word in differing]


def test_fields_that_change_what_is_learned_must_be_accepted(tmp_path):
  workdir, words = started(tmp_path)
  words = [*words, "--config.optim.lr=0.5", "--config.train.log_every=3"]
  message = re.escape(f"--workdir {workdir.folder} belongs to another config: optim.lr: 0.002 there, 0.5 here. Use another ")
  with pytest.raises(UserError, match=f"^{message}--workdir, the same values, or --accept-changes to resume with the new"):
    compared(workdir, words)
  assert compared(workdir, words, accept=True) == ["optim.lr", "train.log_every"]


def test_fixed_fields_are_always_refused(tmp_path):
  workdir, words = started(tmp_path)
  with pytest.raises(UserError, match=r"bootstrap.k: 5 there, 3 here. Such fields cannot change in a run: use another"):
    compared(workdir, [*words, "--config.bootstrap.k=3", "--config.optim.lr=0.5"], accept=True)
  with pytest.raises(
    UserError, match=r"belongs to another config: method.name: 'dino' there, 'simclr' here; .* and \d+ more fields\. "
  ):
    compared(workdir, [f"{CONFIG.replace('nnboot', 'simclr')}:runlocal", "--config.model.width=0.5"], accept=True)


def test_a_config_of_another_version_is_refused_and_newer_fields_have_their_defaults(tmp_path):
  workdir, words = started(tmp_path)
  document = json.loads(workdir.config.read_text())
  del document["train"]["accumulate"], document["data"]["imbalance"]
  workdir.config.write_text(json.dumps(document))
  assert compared(workdir, words) == []
  workdir.config.write_text(json.dumps(document | {"speed": 3}))
  with pytest.raises(UserError, match="another version of jaxssl .speed: unknown field"):
    compared(workdir, words)


def test_a_damaged_history_is_one_line(tmp_path):
  workdir, _ = started(tmp_path)
  for history in ("none", [3], [{"field": "optim.lr"}]):
    workdir.config.write_text(json.dumps({**workdir.read_config(), "history": history}))
    with pytest.raises(UserError, match="history is not a list of changes"):
      workdir.history()


SHORT = [f"{CONFIG}:runlocal", *TINY, "--config.data.limit=64", "--config.evals.baselines=false", "--config.evals.report=false"]
SHORT += ["--config.evals.final=quality", "--config.evals.periodic="]


@pytest.mark.slow
@pytest.mark.usefixtures("one_device")
def test_a_finished_run_is_extended(tmp_path, capfd, fails):
  workdir = Workdir(tmp_path / "run")
  words = [*SHORT, f"--workdir={workdir.folder}"]
  assert main.main([*words, "--config.train.epochs=2"]) == 0
  before = lines(workdir.folder)
  assert workdir.history() == [] and before[-1]["step"] == 4
  capfd.readouterr()

  three = [*words, "--config.train.epochs=3", "--config.evals.every=3"]
  assert main.main(three) == 0
  log = capfd.readouterr().err
  assert "from step 4 on: train.epochs=3, before 2" in log and "resumes at step 4" in log
  assert re.search(r"at step 4: learning_rate 0\.\d+ instead of 1e-05; teacher_momentum 0\.\d+ instead of 1", log)
  assert lines(workdir.folder)[: len(before)] == before
  assert [line["step"] for line in lines(workdir.folder)[len(before) :] if "loss" in line] == [5, 6]
  assert RunRecord(workdir).finished and RunRecord(workdir).step == 6

  fails([*three, "--config.train.epochs=2"], "train.epochs=2: 3 epochs are done or begun; expected at least 3")
  assert main.main([*three, "--config.optim.lr=0.1", "--accept-changes"]) == 0
  assert [tuple(entry.values()) for entry in workdir.history()] == [
    (4, "evals.every", 2, 3), (4, "train.epochs", 2, 3), (6, "optim.lr", 0.002, 0.1),
  ]  # fmt: skip
  assert "step 6: <code>optim.lr</code> 0.002 → 0.1" in tables.history(RunRecord(workdir))
  # a field that changes the arrays of the optimizer's state, which no role says
  fails([*three, "--config.optim.clip=0", "--accept-changes"], "optim.clip: 3.0 there, 0.0 here")
