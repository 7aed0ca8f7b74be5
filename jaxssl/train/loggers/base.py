"""What TensorBoard, Weights & Biases and MLflow have in common."""

import importlib
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from jaxssl.core import UserError, json_io
from jaxssl.workdir.workdir import Workdir


class Logger(Protocol):
  """Receives what a run logs. It may raise any exception."""

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Writes finite values by tag, such as Train/loss."""

  def text(self, name: str, text: str) -> None:
    """Writes a text, such as the config, which replaces an earlier one of this name."""

  def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
    """Writes images, uint8 [h, w, 3], by tag."""

  def close(self, finished: bool) -> None:
    """Writes what is pending. finished: the run is complete; otherwise it has stopped and may be resumed."""


def client(name: str, field: str) -> Any:
  """Imports the client of a tracker. Raises UserError if it is not installed."""
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise UserError(f'{field}: the client is not installed ({error}); run pip install "jaxssl[{name}]"') from error


def first_line(error: Exception) -> str:
  """Returns the first line of an error's message, without a period, or its type if it has none."""
  return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()), type(error).__name__)


def tracked(workdir: Workdir, name: str, target: str) -> str | None:
  """Returns the id of the tracker's run that belongs to a workdir, if there is one at this project or URI."""
  entry = json_io.read(workdir.trackers).get(name) if workdir.trackers.exists() else None
  if not isinstance(entry, dict) or entry.get("target") != target or not isinstance(entry.get("id"), str):
    return None
  return entry["id"]


def remember(workdir: Workdir, name: str, target: str, identifier: str) -> None:
  """Stores the id of the tracker's run, so that a resumed run adds to it."""
  document = json_io.read(workdir.trackers) if workdir.trackers.exists() else {}
  json_io.write(workdir.trackers, {**document, name: {"target": target, "id": identifier}})
