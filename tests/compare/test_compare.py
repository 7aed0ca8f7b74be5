"""`jaxssl compare`: the runs, their order, what is resumed, and what is written."""

import concurrent.futures
import json
import shlex
import sys

import jax
import pytest

import jaxssl
from jaxssl import main
from jaxssl.compare import execute, grid
from jaxssl.core import UserError
from jaxssl.core.metric import Measurement, accuracy_metric
from jaxssl.report import page
from jaxssl.workdir import results
from jaxssl.workdir.workdir import Workdir
from tests.tiny_run import LEAN_VIEWS, ROOT, VIT

CONFIGS = [str(ROOT / "configs" / f"{name}:runlocal") for name in ("simclr.py", "byol.py", "simsiam.py")]
FLAGS = [
  *VIT,
  *LEAN_VIEWS,
  "--config.data.limit=32",  # one step an epoch
  "--config.train.epochs=1",
  "--config.evals.report=false",
  "--config.evals.baselines=false",
]
FLAGS += ["--config.evals.final=knn", "--config.optim.schedule.warmup_epochs=0"]


def test_every_config_has_every_combination_and_seeds_vary_fastest():
  sweeps = {"train.seed": ["0", "1"], "bootstrap.policy": ["off", "naive"], "data.imbalance.seed": ["3"]}
  planned = grid.runs([str(ROOT / "configs/nnboot.py:runlocal")], sweeps, {"train.epochs": 5})
  assert [run.name for run in planned] == [
    f"nnboot-runlocal/{policy}/seed{seed}/imbalance.seed3" for policy in ("off", "naive") for seed in (0, 1)
  ]
  last = planned[-1]
  assert (last.config.bootstrap.policy, last.config.train.seed, last.config.train.epochs) == ("naive", 1, 5)
  assert {"--config.train.epochs=5", "--config.bootstrap.policy=naive", "--config.train.seed=1"} < set(last.words)
  (single,) = grid.runs([CONFIGS[0]], {"bootstrap.k": ["5"]}, {})
  assert single.name == "simclr-runlocal/bootstrap.k=5"


@pytest.mark.parametrize(
  "sweeps, changes, message",
  [
    ({"train.sed": ["1"]}, {}, "train.sed: unknown field; did you mean train.seed?"),
    ({"train.seed": ["1", "1"]}, {}, "--sweep train.seed=1,1: expected different values"),
    ({"train.seed": ["1"]}, {"train.seed": 2}, "--config.train.seed=2: is varied, too; expected one of the two"),
    ({"train.epochs": ["ten"]}, {}, "train.epochs='ten': a str; expected int"),
    ({}, {"method.name": "byol"}, "is a recipe for simclr, whose fields fit no other method; use --config configs/byol.py"),
  ],
)
def test_mistakes_are_found_before_anything_is_trained(sweeps, changes, message):
  with pytest.raises(UserError) as error:
    grid.runs([CONFIGS[0]], sweeps, changes)
  assert message in str(error.value)


def test_seeds_may_be_swept_and_a_field_only_once(tmp_path, capfd, fails):
  words = ["compare", "--configs", CONFIGS[0], f"--workdir={tmp_path}", "--dry-run", "--sweep=train.seed=3,4"]
  assert main.main(words) == 0
  assert [line.split("/")[-1] for line in capfd.readouterr().out.splitlines()] == ["seed3", "seed4"]
  assert main.main([*words[:-1], "--seeds", "5", "6,7"]) == 0  # commas or spaces
  assert [line.split("/")[-1] for line in capfd.readouterr().out.splitlines()] == ["seed5", "seed6", "seed7"]
  fails([*words, "--seeds=0"], "--sweep train.seed: 2 times, --seeds and --policies included; expected all its values at once")


def test_two_configs_of_one_name_are_refused():
  with pytest.raises(UserError, match="two have the same name"):
    grid.runs([CONFIGS[0], CONFIGS[0]], {}, {})


def test_a_dry_run_prints_commands_that_train(tmp_path, capsys):
  words = ["compare", "--configs", *CONFIGS[:2], "--seeds=0,1", f"--workdir={tmp_path}", "--config.train.epochs=1", "--dry-run"]
  assert main.main(words) == 0
  commands = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
  assert len(commands) == 4 and not list(tmp_path.iterdir())
  changes = {"train.epochs": 1}
  assert jaxssl.compare(CONFIGS[:2], str(tmp_path), {"train.seed": ["0", "1"]}, changes, dry_run=True) == 0
  assert [shlex.split(line) for line in capsys.readouterr().out.splitlines()] == commands
  assert commands[3] == [
    "jaxssl", "train", f"--config={CONFIGS[1]}", "--config.train.epochs=1", "--config.train.seed=1",
    f"--workdir={tmp_path}/byol-runlocal/seed1",
  ]  # fmt: skip


def test_failures_are_recorded_and_a_signal_stops(tmp_path, monkeypatch, caplog):
  caplog.set_level("INFO", "jaxssl")
  planned = grid.runs(CONFIGS, {}, {})
  other = Workdir(tmp_path / planned[0].name)
  other.stored()
  other.write_config(grid.runs([CONFIGS[1]], {}, {})[0].config)
  codes = iter([1, 75])
  monkeypatch.setattr(execute, "_train", lambda words: next(codes))
  code, failures = execute.execute(planned, tmp_path)
  assert code == 75 and "stopped in simsiam-runlocal; rerun the same command to resume" in caplog.text
  assert "belongs to another config: method.name: 'byol' there" in failures["simclr-runlocal"]
  assert failures["byol-runlocal"] == "exit code 1"


def test_the_reason_of_a_failure_is_that_of_the_last_command(tmp_path, monkeypatch):
  (run,) = grid.runs(CONFIGS[:1], {}, {})
  workdir = Workdir(tmp_path / run.name)
  workdir.stored()
  workdir.write_config(run.config)
  lines = iter(["2026-01-02 03:04:06,000 INFO again\n", "2026-01-02 03:04:07,000 ERROR the disk is full\n"])
  workdir.log.write_text("2026-01-02 03:04:05,000 ERROR the loss is nan\n")

  def train(words):
    with workdir.log.open("a") as file:
      file.write(next(lines))
    return 1

  monkeypatch.setattr(execute, "_train", train)
  assert execute.execute([run], tmp_path) == (0, {run.name: "exit code 1"})
  assert execute.execute([run], tmp_path) == (0, {run.name: "the disk is full"})


def test_only_finished_runs_are_compared(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(execute, "_train", lambda words: 1)
  monkeypatch.setattr(page, "write", lambda *_: None)
  planned, changes = grid.runs(CONFIGS[:1], {"train.seed": ["0", "1", "2"]}, {}), {"train.seed": [0, 1, 2]}
  with pytest.raises(UserError, match="no run is finished; exit code 1; exit code 1"):
    jaxssl.compare(CONFIGS[0], tmp_path, changes)
  for run, value in zip(planned[:2], (80.0, 30.0), strict=True):
    workdir = Workdir(tmp_path / run.name)
    workdir.stored()
    workdir.write_config(run.config)
    measured = Measurement(metric=accuracy_metric("knn1_cosine", "k-NN", ""), value=value, subject="student", protocol={})
    results.add(workdir.results, 8, [measured], finished=run is planned[0])
  assert jaxssl.compare(CONFIGS[0], tmp_path, changes) == 1
  text = capsys.readouterr().out
  assert "| knn1_cosine | 80.00 |" in text and f"{planned[1].name} failed: exit code 1" in text
  monkeypatch.setattr(execute, "_train", lambda words: 75)
  assert jaxssl.compare(CONFIGS[0], tmp_path, changes) == 75
  document = json.loads((tmp_path / "compare.json").read_text())
  assert document["unfinished"] == [run.name for run in planned[1:]] and document["failures"] == {}
  assert f"{planned[2].name} is not finished, and left out" in capsys.readouterr().out


@pytest.fixture
def script(tmp_path, monkeypatch):
  """Returns a function that makes runs a shell script."""

  def write(lines):
    path = tmp_path / "script"
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))

  return write


@pytest.mark.parametrize("name, code", [("TERM", 75), ("INT", 130)])
def test_a_signal_reaches_the_run_and_stops_the_comparison_whatever_the_code_of_the_run(name, code, script):
  script(f"trap 'exit 7' {name}; kill -{name} $PPID; for i in $(seq 300); do sleep 0.1; done")
  assert execute._train([]) == code


def test_runs_are_started_from_any_thread(script):
  script("exit 7")
  with concurrent.futures.ThreadPoolExecutor() as pool:
    assert pool.submit(execute._train, []).result() == 7


def test_the_comparison_itself_starts_no_devices(tmp_path, monkeypatch, capfd):
  monkeypatch.setenv("JAX_PLATFORMS", "none_such")
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax, "devices", None)  # cannot be called
    assert main.main(["compare", "--configs", CONFIGS[0], f"--workdir={tmp_path}", "--dry-run"]) == 0
  assert "jaxssl train" in capfd.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("one_device")
def test_three_methods_with_two_seeds(tmp_path, monkeypatch, capsys):
  """In this process; the third run is stopped after its training, and is not finished."""
  words = ["compare", "--configs", *CONFIGS, "--seeds=0,1", f"--workdir={tmp_path}", *FLAGS]
  trained = []

  def train(command: list[str]) -> int:
    trained.append(command[-1])
    return 75 if len(trained) == 3 else main.main(command)

  monkeypatch.setattr(execute, "_train", train)
  monkeypatch.setattr(page, "_from_images", lambda record, run: {})  # as on the page of one run, and they take seconds each
  assert main.main(words) == 75
  assert not (tmp_path / "report.html").exists() and "simclr-runlocal (2 runs)" in (tmp_path / "compare.md").read_text()
  trained += [""]
  assert main.main(words) == 0
  assert len(trained) == 3 + 1 + 4 and trained[4] == trained[2]  # the first two were not trained again
  document = json.loads((tmp_path / "compare.json").read_text())
  assert [(group["name"], len(group["runs"])) for group in document["groups"]] == [
    ("simclr-runlocal", 2), ("byol-runlocal", 2), ("simsiam-runlocal", 2),
  ]  # fmt: skip
  measured = results.read(tmp_path / "byol-runlocal/seed1/results.json")["measurements"]
  values = [m["value"] for m in measured if m["name"].startswith("knn")]
  knn = next(m for m in document["groups"][1]["metrics"] if m["metric"].startswith("knn"))
  assert knn["values"][1] == values[0] and knn["std"] is not None
  pairs = [(pair["first"], pair["second"], len(pair["values"])) for pair in document["differences"]]
  assert ("simclr-runlocal", "byol-runlocal", 2) in pairs and not document["failures"]
  assert len((tmp_path / "compare.csv").read_text().splitlines()) > 6 and (tmp_path / "report.html").exists()
  assert "| difference, seed by seed |" in capsys.readouterr().out
