"""Logs to Weights & Biases, through its client (`pip install "jaxssl[wandb]"`)."""

import json
import pathlib
import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxssl.core import LOG, UserError
from jaxssl.train.loggers.base import client, first_line, remember, tracked
from jaxssl.workdir.workdir import Workdir

FIELD = "log.wandb"


def check(project: str) -> None:
  """Raises UserError if the client is not installed."""
  client("wandb", f"{FIELD}={project}")


class Wandb:
  """A `Logger` to one run of a project."""

  def __init__(self, project: str, workdir: Workdir, name: str, config: str):
    """Starts the run that belongs to the workdir, or resumes it. Raises UserError if the client cannot start one."""
    self._client = client("wandb", f"{FIELD}={project}")
    entity, _, own = project.rpartition("/")
    known = tracked(workdir, "wandb", project)
    identifier = known or secrets.token_hex(4)
    about: dict[str, Any] = {"project": own, "name": name, "id": identifier, "resume": "allow", "dir": str(workdir.folder)}
    try:
      quiet = self._client.Settings(console="off", silent=True)  # the run has its own log and progress bar
      self._run = self._client.init(**about, entity=entity or None, config=json.loads(config), settings=quiet)
    except Exception as error:
      deleted = f", or remove {workdir.trackers} if its run has been deleted there" if known else ""
      raise UserError(
        f"{FIELD}={project}: {first_line(error)}; run `wandb login`, or set WANDB_MODE=offline to upload later{deleted}"
      ) from error
    # Without `step` as the x axis, steps that are repeated after a resume would be dropped.
    self._run.define_metric("step")
    self._run.define_metric("*", step_metric="step")
    remember(workdir, "wandb", project, identifier)
    place = f"run {identifier} in {workdir.folder}/wandb, for `wandb sync`" if self._run.offline else self._run.url
    LOG.info("%s: %s", FIELD, place)

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Writes values."""
    self._run.log({**values, "step": step})

  def text(self, name: str, text: str) -> None:
    """Writes a file of the run, which Weights & Biases shows among its files."""
    folder = pathlib.Path(self._run.dir)
    folder.mkdir(parents=True, exist_ok=True)  # with WANDB_MODE=disabled there is none
    (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    self._run.save(str(folder / f"{name}.txt"), base_path=str(folder), policy="now")

  def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
    """Writes images."""
    self._run.log({**{tag: self._client.Image(image) for tag, image in images.items()}, "step": step})

  def close(self, finished: bool) -> None:
    """Waits until all is written, or uploaded."""
    self._run.finish(exit_code=0 if finished else 1)
