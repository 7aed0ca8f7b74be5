"""Weights & Biases and MLflow with their real clients, offline: `pip install "jaxssl[wandb,mlflow]"` runs these tests."""

import pathlib

import numpy as np
import pytest

from jaxssl.core import UserError
from jaxssl.train.loggers.mlflow import MLflow, check
from jaxssl.train.loggers.wandb import Wandb
from jaxssl.workdir.workdir import Workdir

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of the clients

IMAGE = np.zeros((8, 8, 3), np.uint8)
SKIPPED = 'needs the client; run `pip install "jaxssl[{}]"` and `pytest tests/train/test_trackers.py`'


def log(logger) -> None:
  logger.text("config", "some text")
  logger.write(1, {"Train/loss": 0.5})
  logger.images(1, {"Neighbors/nearest": IMAGE})
  logger.close(finished=True)


def test_wandb_offline(tmp_path, monkeypatch):
  pytest.importorskip("wandb", reason=SKIPPED.format("wandb"))
  monkeypatch.setenv("WANDB_MODE", "offline")
  workdir = Workdir(tmp_path)
  for _ in range(2):  # the second resumes the first
    log(Wandb("project", workdir, "run", '{"train": {"epochs": 2}}'))
  files = list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
  assert len({path.name for path in files}) == 1  # named after the run
  assert list((tmp_path / "wandb").glob("offline-run-*/files/media/images/Neighbors/nearest_*.png"))
  assert next((tmp_path / "wandb").glob("offline-run-*/files/config.txt")).read_text() == "some text"


def test_mlflow_in_a_local_store(tmp_path, monkeypatch):
  mlflow = pytest.importorskip("mlflow", reason=SKIPPED.format("mlflow"))
  monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database takes 10 s to create
  workdir, uri = Workdir(tmp_path), (tmp_path / "store").as_uri()
  for _ in range(2):
    log(MLflow(uri, workdir, "run", '{"train": {"epochs": 2}}'))
  client = mlflow.MlflowClient(tracking_uri=uri)
  (run,) = client.search_runs([client.get_experiment_by_name("jaxssl").experiment_id])
  assert run.info.run_name == "run" and run.info.status == "FINISHED"
  assert run.data.params == {"train.epochs": "2"} and run.data.metrics == {"Train/loss": 0.5}
  assert {path.suffix for path in pathlib.Path(tmp_path).rglob("*/images/Neighbors*")} == {".png", ".webp"}


def test_mlflow_without_a_server(monkeypatch):
  pytest.importorskip("mlflow", reason=SKIPPED.format("mlflow"))
  with pytest.raises(UserError, match="^log.mlflow=htp://here: .*unsupported URI"):
    check("htp://here")
  with pytest.raises(UserError, match="^log.mlflow=http://127.0.0.1:1: .*Connection refused"):
    check("http://127.0.0.1:1")
