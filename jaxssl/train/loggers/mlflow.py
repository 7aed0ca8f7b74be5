"""Logs to MLflow, through its client (`pip install "jaxssl[mlflow]"`)."""

import json
import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxssl.core import LOG, UserError, tree
from jaxssl.train.loggers.base import client, first_line, remember, tracked
from jaxssl.workdir.workdir import Workdir

FIELD = "log.mlflow"
EXPERIMENT = "jaxssl"  # the default; MLflow's own variable MLFLOW_EXPERIMENT_NAME sets another
RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
LONGEST = 500  # characters of a parameter: MLflow's oldest servers accept no more


def check(uri: str) -> None:
  """Raises UserError if the client is not installed, or if there is no tracking server or store at the URI."""
  _connect(uri)


def _connect(uri: str) -> Any:
  module = client("mlflow", f"{FIELD}={uri}")
  before = os.environ.get(RETRIES)
  os.environ[RETRIES] = before or "1"  # by default, a server that does not answer is asked for minutes
  try:
    connection = module.MlflowClient(tracking_uri=uri)
    connection.search_experiments(max_results=1)
  except Exception as error:
    raise UserError(f"{FIELD}={uri}: {first_line(error)}") from error
  finally:
    if before is None:
      del os.environ[RETRIES]
  return connection


class MLflow:
  """A `Logger` to one run of a tracking server or store."""

  def __init__(self, uri: str, workdir: Workdir, name: str, config: str):
    """Starts the run that belongs to the workdir, or resumes it. Raises UserError if that fails."""
    self._client = _connect(uri)
    self._entities = client("mlflow.entities", FIELD)
    identifier = tracked(workdir, "mlflow", uri)
    try:
      self._id = self._resumed(identifier) or self._started(name, config)
    except Exception as error:
      raise UserError(f"{FIELD}={uri}: {first_line(error)}") from error
    remember(workdir, "mlflow", uri, self._id)
    LOG.info("%s: run %s at %s", FIELD, self._id, uri)

  def _resumed(self, identifier: str | None) -> str | None:
    """Returns the id of a run that still exists, after marking it as running."""
    if identifier is None:
      return None
    try:
      if self._client.get_run(identifier).info.lifecycle_stage != "active":
        return None
    except Exception as error:
      if getattr(error, "error_code", "") != "RESOURCE_DOES_NOT_EXIST":
        raise
      return None
    self._client.update_run(identifier, status="RUNNING")
    return identifier

  def _started(self, name: str, config: str) -> str:
    """Starts a run whose parameters are the fields of the config."""
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    known = self._client.get_experiment_by_name(experiment)
    number = known.experiment_id if known else self._client.create_experiment(experiment)
    identifier = self._client.create_run(number, run_name=name).info.run_id
    fields = tree.flatten(json.loads(config))
    parameters = [self._entities.Param(path, str(value)[:LONGEST]) for path, value in fields.items()]
    for first in range(0, len(parameters), 100):  # as many as MLflow accepts at a time
      self._client.log_batch(identifier, params=parameters[first : first + 100])
    return identifier

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Writes values."""
    now = int(time.time() * 1000)
    self._client.log_batch(self._id, metrics=[self._entities.Metric(tag, x, now, step) for tag, x in values.items()])

  def text(self, name: str, text: str) -> None:
    """Writes a text artifact."""
    self._client.log_text(self._id, text, f"{name}.txt")

  def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
    """Writes images, which MLflow shows with a slider over the steps."""
    for tag, image in images.items():
      self._client.log_image(self._id, image, key=tag, step=step)

  def close(self, finished: bool) -> None:
    """Marks the run as finished, or as killed."""
    self._client.set_terminated(self._id, "FINISHED" if finished else "KILLED")
