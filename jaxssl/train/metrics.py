"""Writes metrics and measurements of a run; the metrics of a step are read one step late."""

import contextlib
import importlib.util
import json
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

from jaxssl.bootstrap import metrics as bootstrap_metrics
from jaxssl.core import json_io
from jaxssl.core import log as runlog
from jaxssl.core.errors import UserError
from jaxssl.core.json_io import truncate_lines
from jaxssl.core.log import LOG
from jaxssl.core.metric import Measurement, Metric
from jaxssl.core.types import Logs
from jaxssl.methods import metrics as method_metrics
from jaxssl.train import progress
from jaxssl.train.diagnostics import Diagnostics
from jaxssl.train.progress import Progress
from jaxssl.train.setup import Experiment
from jaxssl.workdir import results
from jaxssl.workdir.workdir import Workdir

STEP_METRICS = (  # returned by train.step; those of a method follow
  Metric("loss", "Loss", "The training objective. Losses of different methods cannot be compared."),
  Metric("gradient_norm", "Gradient norm", "The length of the gradient. Sudden peaks announce trouble."),
  Metric("feature_deviation", "Deviation of features", "Of a batch. 1: evenly spread; 0: collapse.", "Features"),
  Metric("feature_rank", "Rank of features", "Directions that a batch uses. Near 1: collapse.", "Features"),
  Metric("projection_deviation", "Deviation of projections", "Of a batch. 1: evenly spread; 0: collapse.", "Features"),
  Metric("projection_rank", "Rank of projections", "Directions that a batch uses. Near 1: collapse.", "Features"),
)
LOGGED = (*STEP_METRICS, *method_metrics.METRICS, *progress.METRICS, *bootstrap_metrics.METRICS.values())


class Metrics:
  """Writes metrics.jsonl, one object a line, and the same numbers as TensorBoard events (through clu)."""

  def __init__(self, workdir: Workdir, last_step: int):
    """Opens the files. Lines after `last_step` are removed: the run resumes there and will repeat them."""
    truncate_lines(workdir.metrics, last_step)
    self._workdir = workdir
    self._file = workdir.metrics.open("a")
    self._waiting: list[tuple[int, dict[str, float]]] = []
    self._writer: Any = None
    self._thread = threading.Thread(target=self._open_tensorboard, daemon=True)
    self._thread.start()

  def _open_tensorboard(self) -> None:
    """Imports clu while the first steps run: it imports tensorflow, which takes seconds."""
    if importlib.util.find_spec("tensorflow") is None or importlib.util.find_spec("clu") is None:
      name = self._workdir.metrics.name
      LOG.info("no TensorBoard events: clu or tensorflow is not installed; %s has all numbers", name)
      return
    from clu import metric_writers

    self._writer = metric_writers.SummaryWriter(str(self._workdir.tensorboard))

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
    """Writes everything out and closes the files."""
    self._thread.join()
    self._drain()
    if self._writer is not None:
      self._writer.close()
    self._file.close()


class Stopped(Exception):
  """The run ends early: the loss is not finite, or an alert that `health.stop` names has started."""


class RunWriter:
  """Writes measurements: metrics.jsonl and TensorBoard get names and values, results.json also protocols and definitions."""

  def __init__(self, workdir: Workdir, step: int):
    """Opens the workdir of a run at `step`; what was written of later steps is removed."""
    self._workdir = workdir
    results.cut(workdir.results, step)
    self.has_baselines = bool(results.read(workdir.results))
    json_io.truncate_lines(workdir.neighbors, step)
    self.metrics = Metrics(workdir, step)

  def write(self, step: int, epoch: int, measurements: Sequence[Measurement]) -> None:
    """Writes measurements made after `step` steps."""
    self.metrics.write(step, epoch, {m.flat_name: m.value for m in measurements})
    results.add(self._workdir.results, step, measurements, LOGGED, finished=False)

  def write_neighbors(self, step: int, epoch: int, examples: Mapping[str, Any]) -> None:
    """Adds a line to neighbors.jsonl."""
    with self._workdir.neighbors.open("a") as file:
      file.write(json.dumps({"step": step, "epoch": epoch, **examples}) + "\n")


class MetricLogger:
  """Reads the metrics of each step after the next one is dispatched, so that the host never waits for the device."""

  def __init__(self, run: Experiment, metrics: Metrics, diagnostics: Diagnostics, step: int):
    self._run, self._metrics, self._diagnostics = run, metrics, diagnostics
    self._pending: tuple[int, Logs] | None = None
    self._compiled = False
    self.progress = Progress(run.training_length.steps, step, run.config.train.batch_size)

  @contextlib.contextmanager
  def compiling(self) -> Iterator[None]:
    """Surrounds the dispatch of a step, the first of which compiles it."""
    with self._enough_memory(), contextlib.nullcontext() if self._compiled else runlog.heartbeat("compiling the training step"):
      yield
    self._compiled = True

  @contextlib.contextmanager
  def _enough_memory(self) -> Iterator[None]:
    """Turns a lack of device memory into a UserError that names the fields to change."""
    try:
      yield
    except jax.errors.JaxRuntimeError as error:
      if "RESOURCE_EXHAUSTED" not in str(error):
        raise
      train = self._run.config.train
      raise UserError(
        f"train.batch_size={train.batch_size} with train.accumulate={train.accumulate} does not fit in the memory of "
        f"{self._run.mesh.size} devices; lower the first, raise the second, or try data.placement=host, a smaller network or "
        "smaller views"
      ) from error

  def push(self, step: int, logs: Logs, waited: float) -> None:
    """Takes the metrics of a step that was dispatched, and reads those of the step before."""
    self.progress.wait(waited)
    self.flush()
    self._pending = (step, logs)

  def flush(self) -> None:
    """Reads what is pending. Raises Stopped if a loss is not finite, or if an alert ends the run."""
    if self._pending is None:
      return
    step, logs = self._pending
    self._pending = None
    waiting = runlog.heartbeat(f"waiting for step {step}") if jax.process_count() > 1 else contextlib.nullcontext()
    with self._enough_memory(), waiting:  # one of several processes may hang
      values = {name: float(value) for name, value in jax.device_get(dict(logs)).items()}
    epoch = (step - 1) // self._run.training_length.steps_per_epoch
    if not math.isfinite(values["loss"]):
      raise Stopped(f"the loss is {values['loss']} at step {step}, epoch {epoch}; try a lower optim.lr")
    alerts = self._diagnostics.active_alerts
    speed = self.progress.update(step, step / self._run.training_length.steps_per_epoch, values["loss"], alerts)
    if step % self._run.config.train.log_every == 0 or step == self._run.training_length.steps:
      self._metrics.write(step, epoch, {**values, **speed})
    self.stop_if(self._diagnostics.step(step, {**values, **speed}))

  def stop_if(self, reason: str | None) -> None:
    """Raises Stopped if there is a reason to."""
    if reason:
      raise Stopped(f"health.stop: {reason}")
