"""Loggers get what a run logs, in threads of their own; a failing one is one warning. Fake clients stand for the real ones."""

import logging
import sys
import threading
import time
import types

import numpy as np
import pytest

from jaxssl.config.schema import Config, LogConfig
from jaxssl.core import LOG, UserError
from jaxssl.train.loggers import background, base, mlflow, tensorboard
from jaxssl.train.loggers import open as loggers
from jaxssl.train.loggers.background import Background
from jaxssl.train.loggers.mlflow import MLflow
from jaxssl.train.loggers.wandb import Wandb
from jaxssl.workdir.workdir import Workdir

IMAGE = np.zeros((4, 4, 3), np.uint8)


class Recorder:
  """Stands for an object of a client: records calls as (name, arguments, keywords); `answers` are returned or raised."""

  def __init__(self, calls: list, **answers):
    self._calls, self._answers = calls, answers

  def __getattr__(self, name):
    if name.startswith("__"):
      raise AttributeError(name)
    answer = self._answers.get(name)
    if name in self._answers and not callable(answer) and not isinstance(answer, Exception):
      return answer

    def call(*arguments, **keywords):
      self._calls.append((name, arguments, keywords))
      if isinstance(answer, Exception):
        raise answer
      return answer(*arguments, **keywords) if answer else None

    return call


@pytest.fixture
def warnings(monkeypatch):
  """Returns the messages that are logged at the level of warnings."""
  messages: list[str] = []

  class Handler(logging.Handler):
    def emit(self, record):
      messages.append(record.getMessage())

  handler = Handler(logging.WARNING)
  LOG.addHandler(handler)
  yield messages
  LOG.removeHandler(handler)


@pytest.fixture
def fake_wandb(monkeypatch, tmp_path):
  """Installs a fake client; returns the calls of its functions and of its run."""
  calls: list = []
  run = Recorder(calls, dir=str(tmp_path), offline=True)
  module = Recorder(calls, init=lambda **_: run, Settings=lambda **fields: fields, Image=lambda image: ("image", image.shape))
  monkeypatch.setitem(sys.modules, "wandb", module)
  return calls


@pytest.fixture
def fake_mlflow(monkeypatch):
  """Installs a fake client of a server with an experiment that has no run; returns its calls and its answers."""
  calls: list = []
  info = types.SimpleNamespace(run_id="r1", lifecycle_stage="active")
  answers = {
    "get_experiment_by_name": lambda name: None,
    "create_experiment": lambda name: "7",
    "create_run": lambda *_, **__: types.SimpleNamespace(info=info),
    "get_run": lambda _: types.SimpleNamespace(info=info),
  }
  client = Recorder(calls, **answers)
  module = types.ModuleType("mlflow")
  module.MlflowClient = lambda tracking_uri: client  # type: ignore[attr-defined]
  entities = types.ModuleType("mlflow.entities")
  entities.Metric = lambda *fields: fields  # type: ignore[attr-defined]
  entities.Param = lambda *fields: fields  # type: ignore[attr-defined]
  monkeypatch.setitem(sys.modules, "mlflow", module)
  monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
  return calls, client._answers


def named(calls, name):
  return [(arguments, keywords) for other, arguments, keywords in calls if other == name]


def test_wandb_gets_values_files_and_images_and_resumes_its_run(fake_wandb, tmp_path):
  workdir = Workdir(tmp_path)
  run = Wandb("team/photos", workdir, "first", '{"train": {"epochs": 2}}')
  (_, about), *_ = named(fake_wandb, "init")
  assert (about["project"], about["entity"], about["name"]) == ("photos", "team", "first")
  assert about["config"] == {"train": {"epochs": 2}} and about["resume"] == "allow" and about["dir"] == str(tmp_path)
  run.write(3, {"Train/loss": 0.5})
  run.text("config", "some text")
  run.images(3, {"Neighbors/nearest": IMAGE})
  run.close(finished=False)
  logged = [arguments[0] for arguments, _ in named(fake_wandb, "log")]
  assert logged == [{"Train/loss": 0.5, "step": 3}, {"Neighbors/nearest": ("image", (4, 4, 3)), "step": 3}]
  assert (("*",), {"step_metric": "step"}) in named(fake_wandb, "define_metric")  # repeated steps are not dropped
  assert (tmp_path / "config.txt").read_text() == "some text" and named(fake_wandb, "save")
  assert named(fake_wandb, "finish") == [((), {"exit_code": 1})]
  Wandb("team/photos", workdir, "first", "{}")
  Wandb("team/others", workdir, "first", "{}")
  first, again, other = (keywords["id"] for _, keywords in named(fake_wandb, "init"))
  assert first == again != other


def test_wandb_errors_are_one_line(monkeypatch, tmp_path):
  refused = Recorder([], init=RuntimeError("No API key configured.\nMore lines"), Settings=lambda **_: None)
  monkeypatch.setitem(sys.modules, "wandb", refused)
  with pytest.raises(UserError, match=r"^log.wandb=p: No API key configured; run `wandb login`, or set WANDB_MODE=offline"):
    Wandb("p", Workdir(tmp_path), "first", "{}")
  workdir = Workdir(tmp_path)
  assert not workdir.trackers.exists()
  base.remember(workdir, "wandb", "p", "abc")
  with pytest.raises(UserError, match=r"to upload later, or remove .*trackers.json if its run has been deleted there$"):
    Wandb("p", workdir, "first", "{}")


def test_mlflow_gets_values_texts_and_images_and_resumes_its_run(fake_mlflow, tmp_path):
  calls, answers = fake_mlflow
  workdir, config = Workdir(tmp_path), '{"train": {"epochs": 2}, "optim": {"lr": 0.1}}'
  run = MLflow("http://there", workdir, "first", config)
  assert named(calls, "create_run") == [(("7",), {"run_name": "first"})]
  assert named(calls, "log_batch") == [(("r1",), {"params": [("train.epochs", "2"), ("optim.lr", "0.1")]})]
  run.write(3, {"Train/loss": 0.5})
  ((tag, value, _, step),) = named(calls, "log_batch")[1][1]["metrics"]
  assert (tag, value, step) == ("Train/loss", 0.5, 3)
  run.text("config", "some text")
  assert named(calls, "log_text") == [(("r1", "some text", "config.txt"), {})]
  run.images(3, {"Neighbors/nearest": IMAGE})
  assert named(calls, "log_image")[0][1] == {"key": "Neighbors/nearest", "step": 3}
  run.close(finished=True)
  assert named(calls, "set_terminated") == [(("r1", "FINISHED"), {})]
  MLflow("http://there", workdir, "first", config)
  assert named(calls, "update_run") == [(("r1",), {"status": "RUNNING"})] and len(named(calls, "create_run")) == 1
  MLflow("http://elsewhere", workdir, "first", config)
  assert len(named(calls, "create_run")) == 2  # the run of the other server is unknown there
  gone = RuntimeError("no such run")
  gone.error_code = "RESOURCE_DOES_NOT_EXIST"  # type: ignore[attr-defined]
  answers["get_run"] = gone
  MLflow("http://elsewhere", workdir, "first", config)
  assert len(named(calls, "create_run")) == 3


def test_a_wrong_uri_is_one_line_and_is_not_asked_for_minutes(fake_mlflow, monkeypatch):
  _, answers = fake_mlflow
  retries = []

  def fail(**_):
    retries.append(mlflow.os.environ[mlflow.RETRIES])
    raise ConnectionError("nobody answers\n  at all")

  answers["search_experiments"] = fail
  monkeypatch.delenv(mlflow.RETRIES, raising=False)
  with pytest.raises(UserError, match=r"^log.mlflow=http://nowhere: nobody answers$"):
    loggers.check(LogConfig(mlflow="http://nowhere"))
  assert retries == ["1"] and mlflow.RETRIES not in mlflow.os.environ


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_client_names_the_extra(name, monkeypatch):
  monkeypatch.setitem(sys.modules, name, None)
  with pytest.raises(UserError, match=rf'^log.{name}=x: the client is not installed .*pip install "jaxssl\[{name}\]"'):
    loggers.check(LogConfig(**{name: "x"}))


def test_other_processes_than_the_first_log_nowhere(monkeypatch, tmp_path):
  monkeypatch.setattr(loggers.processes, "is_primary", lambda: False)
  monkeypatch.setitem(sys.modules, "wandb", None)
  config = Config(log=LogConfig(wandb="x"))
  loggers.check(config.log)
  assert loggers.open_loggers(config, Workdir(tmp_path), "run") == []


def test_a_failing_logger_is_one_warning_and_later_values_are_tried(warnings):
  calls: list = []
  logger = Background("there", lambda: Recorder(calls, write=OSError("connection lost\nmore")))  # type: ignore[arg-type]
  for step in (1, 2):
    logger.write(step, {"Train/loss": 1.0})
  logger.images(2, lambda: {"a": IMAGE})
  background.close_all([logger], finished=True)
  assert [name for name, *_ in calls] == ["write", "write", "images", "close"]
  assert warnings == [
    "there: values are missing there from now on, since it failed: OSError: connection lost. All values are in metrics.jsonl"
  ]


def test_a_logger_that_cannot_be_opened_is_one_warning(warnings):
  def refuse():
    raise ImportError("broken installation")

  logger = Background("there", refuse)
  logger.write(1, {"Train/loss": 1.0})
  background.close_all([logger], finished=True)
  assert len(warnings) == 1 and "ImportError: broken installation" in warnings[0]


@pytest.mark.parametrize("finished, limit", [(True, "FINISHED"), (False, "STOPPED")])
def test_loggers_that_hang_do_not_delay_the_end_of_a_run(finished, limit, warnings, monkeypatch):
  monkeypatch.setattr(background, limit, 0.2)
  released, calls = threading.Event(), []
  hanging = [Background("there", lambda: Recorder(calls, write=lambda *_: released.wait())) for _ in range(3)]  # type: ignore
  for logger in hanging:
    logger.write(1, {"Train/loss": 1.0})
  began = time.monotonic()
  background.close_all(hanging, finished)
  assert time.monotonic() - began < 2 and released.is_set() is False  # all together, not one after the other
  assert warnings == ["there: the last values are not written yet; the run does not wait for them any longer"] * 3
  released.set()
  for logger in hanging:
    logger.wait(10)
  assert calls[-1] == ("close", (finished,), {})


@pytest.mark.slow
def test_tensorboard_has_grouped_tags_the_config_and_images(tmp_path):
  accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
  assert tensorboard.available()
  logger = tensorboard.TensorBoard(tmp_path)
  logger.text("config", '{"a": 1}')
  logger.write(3, {"Train/loss": 0.5, "Schedules/learning_rate": 0.1})
  logger.images(3, {"Neighbors/nearest": IMAGE})
  logger.close(finished=True)
  events = accumulator.EventAccumulator(str(tmp_path))
  events.Reload()
  assert set(events.Tags()["tensors"]) == {"config", "Train/loss", "Schedules/learning_rate", "Neighbors/nearest"}
  (loss,) = events.Tensors("Train/loss")
  assert loss.step == 3 and np.frombuffer(loss.tensor_proto.tensor_content, np.float32) == [0.5]
  assert events.Tensors("config")[0].tensor_proto.string_val[0] == b'```\n{"a": 1}\n```'
  assert events.Tensors("Neighbors/nearest")[0].tensor_proto.string_val[:2] == [b"4", b"4"]
