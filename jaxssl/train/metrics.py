"""What a run notes of itself while it goes on: figures of steps, read one step late, and measurements."""

import contextlib
import importlib.util
import json
import math
import pathlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

from jaxssl.core import json_io
from jaxssl.core import log as runlog
from jaxssl.core.errors import UserError
from jaxssl.core.json_io import truncate_lines
from jaxssl.core.log import LOG
from jaxssl.core.types import Logs
from jaxssl.train.diagnostics import Diagnostics
from jaxssl.train.progress import Progress
from jaxssl.train.setup import Experiment
from jaxssl.workdir import results
from jaxssl.workdir.results import Measurement


class Metrics:
  """Writes metrics.jsonl, one object a line, and the same numbers as TensorBoard events (through clu)."""

  def __init__(self, workdir: pathlib.Path, last_step: int):
    """Opens the files; lines after `last_step` belong to steps that will be taken again, and are cut off."""
    path = workdir / "metrics.jsonl"
    truncate_lines(path, last_step)
    self._file = path.open("a")
    self._waiting: list[tuple[int, dict[str, float]]] = []
    self._writer: Any = None
    self._thread = threading.Thread(target=self._open_tensorboard, args=(workdir,), daemon=True)
    self._thread.start()

  def _open_tensorboard(self, workdir: pathlib.Path) -> None:
    """Imports clu beside the first steps: it brings tensorflow, which takes seconds."""
    if importlib.util.find_spec("tensorflow") is None or importlib.util.find_spec("clu") is None:
      LOG.info("no TensorBoard events: clu or tensorflow is not installed; metrics.jsonl holds all numbers")
      return
    from clu import metric_writers

    self._writer = metric_writers.SummaryWriter(str(workdir / "tensorboard"))

  def write(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
    """Adds one line. Values that are not finite are written as null."""
    finite = {name: float(value) if math.isfinite(value) else None for name, value in values.items()}
    self._file.write(json.dumps({"step": step, "epoch": epoch, **finite}) + "\n")
    self._file.flush()
    self._waiting.append((step, {name: value for name, value in finite.items() if value is not None}))
    if not self._thread.is_alive():
      self._drain()

  def _drain(self) -> None:
    if self._writer is not None:
      for step, values in self._waiting:
        self._writer.write_scalars(step, values)
    self._waiting.clear()

  def close(self) -> None:
    """Writes out everything."""
    self._thread.join()
    self._drain()
    if self._writer is not None:
      self._writer.close()
    self._file.close()


class Stopped(Exception):
  """The run is over before its end: the loss is no finite number any more, or a verdict that the config names was given."""


class RunWriter:
  """Where measurements go: metrics.jsonl and TensorBoard by name and value, results.json with their protocols."""

  def __init__(self, workdir: pathlib.Path, step: int):
    """Opens a workdir whose run is at `step`; what is noted of later steps is taken out, since they come again."""
    self._results = workdir / "results.json"
    results.cut(self._results, step)
    self.has_baselines = bool(results.read(self._results))
    self._neighbors = workdir / "neighbors.jsonl"
    json_io.truncate_lines(self._neighbors, step)
    self.metrics = Metrics(workdir, step)

  def measured(self, step: int, epoch: int, found: Sequence[Measurement]) -> None:
    """Writes measurements down, and shows the first of them."""
    self.metrics.write(step, epoch, {m.name: m.value for m in found})
    results.add(self._results, step, found, finished=False)

  def looked(self, step: int, epoch: int, seen: Mapping[str, Any]) -> None:
    """Adds a line to neighbors.jsonl."""
    with self._neighbors.open("a") as file:
      file.write(json.dumps({"step": step, "epoch": epoch, **seen}) + "\n")


class MetricLogger:
  """Reads each step's figures after the next step was dispatched, so that the host never waits for the device."""

  def __init__(self, run: Experiment, metrics: Metrics, health: Diagnostics, step: int):
    self._run, self._metrics, self._health = run, metrics, health
    self._pending: tuple[int, Logs] | None = None
    self._compiled = False
    self.progress = Progress(run.training_length.steps, step, run.config.train.batch_size)

  @contextlib.contextmanager
  def compiling(self) -> Iterator[None]:
    """Surrounds a step's dispatch: the first one compiles it, which may take a while."""
    with self._enough_memory(), contextlib.nullcontext() if self._compiled else runlog.heartbeat("compiling the training step"):
      yield
    self._compiled = True

  @contextlib.contextmanager
  def _enough_memory(self) -> Iterator[None]:
    """Says what to lower where the devices have too little memory."""
    try:
      yield
    except jax.errors.JaxRuntimeError as error:
      if "RESOURCE_EXHAUSTED" not in str(error):
        raise
      train = self._run.config.train
      raise UserError(
        f"train.batch_size={train.batch_size} with train.accumulate={train.accumulate} does not fit in the memory of "
        f"{self._run.mesh.size} devices: lower the one, raise the other, or try data.placement=host, a smaller network or views"
      ) from error

  def push(self, step: int, logs: Logs, waited: float) -> None:
    """Takes the figures of a step that was dispatched, and reads those of the one before."""
    self.progress.wait(waited)
    self.flush()
    self._pending = (step, logs)

  def flush(self) -> None:
    """Reads what is pending; raises Stopped when a loss is not finite, or the run's health is such that it should end."""
    if self._pending is None:
      return
    step, logs = self._pending
    self._pending = None
    waiting = runlog.heartbeat(f"waiting for step {step}") if jax.process_count() > 1 else contextlib.nullcontext()
    with self._enough_memory(), waiting:  # of several processes one may hang
      values = {name: float(value) for name, value in jax.device_get(dict(logs)).items()}
    epoch = (step - 1) // self._run.training_length.steps_per_epoch
    if not math.isfinite(values["loss"]):
      raise Stopped(f"the loss is {values['loss']} at step {step}, epoch {epoch}: try a lower optim.lr")
    warning = self._health.standing
    speed = self.progress.update(step, step / self._run.training_length.steps_per_epoch, values["loss"], warning)
    if step % self._run.config.train.log_every == 0 or step == self._run.training_length.steps:
      self._metrics.write(step, epoch, {**values, **speed})
    self.stop_if(self._health.step(step, {**values, **speed}))

  def stop_if(self, reason: str | None) -> None:
    """Raises Stopped where there is a reason to."""
    if reason:
      raise Stopped(f"health.stop: {reason}")
