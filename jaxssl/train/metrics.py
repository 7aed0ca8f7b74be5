"""Writes metrics and measurements of a run; the metrics of a step are read one step late."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any

import jax

from jaxssl.bootstrap import metrics as bootstrap_metrics
from jaxssl.core import LOG, UserError, heartbeat, json_io
from jaxssl.core.metric import Measurement, Metric
from jaxssl.core.types import Logs
from jaxssl.methods import base as methods
from jaxssl.train.diagnostics import Diagnostics, Stopped
from jaxssl.train.progress import Progress
from jaxssl.train.setup import Experiment
from jaxssl.workdir import results
from jaxssl.workdir.sync import LocalWorkdir

STEP_METRICS = (  # from train.step and train.progress
  Metric("loss", "Loss", "The training objective. Losses of different methods cannot be compared."),
  Metric("gradient_norm", "Gradient norm", "The length of the gradient. Sudden peaks announce trouble."),
  Metric("feature_deviation", "Deviation of features", "Of a batch. 1: evenly spread; 0: collapse.", "Features"),
  Metric("feature_rank", "Rank of features", "Directions that a batch uses. Near 1: collapse.", "Features"),
  Metric("projection_deviation", "Deviation of projections", "Of a batch. 1: evenly spread; 0: collapse.", "Features"),
  Metric("projection_rank", "Rank of projections", "Directions that a batch uses. Near 1: collapse.", "Features"),
  Metric("images_per_second", "Images per second", "The speed of training.", "Speed", unit="images/s", higher_is_better=True),
  Metric("data_wait", "Wait for data", "Share of the time in which training waited for images.", "Speed"),
)
LOGGED = (*STEP_METRICS, *methods.METRICS, *bootstrap_metrics.METRICS.values())


class MetricLogger:
  """Writes metrics.jsonl and the same numbers as TensorBoard events (through clu), results.json and neighbors.jsonl.

  The metrics of a step are read after the next one is dispatched, so that the host never waits for the device.
  """

  def __init__(self, run: Experiment, workdir: LocalWorkdir, step: int):
    """Opens the workdir of a run at `step`; removes what was written for later steps."""
    self.workdir = workdir
    self._run, self._length, self._config = run, run.training_length, run.config.train
    if not workdir.results.exists():
      results.add(workdir.results, step, [], LOGGED, finished=False)
    results.cut(workdir.results, step, self._length.steps)
    json_io.truncate_lines(workdir.metrics, step)
    ends = [line for line in json_io.lines(workdir.metrics) if "loss" not in line]  # see `write`
    self.has_baselines = any(line["step"] == 0 for line in ends)
    epoch, begun = self._length.place(step)
    measured = any(line["step"] and line.get("epoch") == epoch - 1 for line in ends)
    self.unmeasured = epoch - 1 if epoch and not begun and not measured else None  # the epoch that was cut short at its end
    json_io.truncate_lines(workdir.neighbors, step if self.unmeasured is None else step - 1)
    self._diagnostics = Diagnostics(run.config.health, run.train_step.dims(), workdir, step)
    self.progress = Progress(self._length.steps, step, self._config.batch_size)
    self._pending: tuple[int, Logs, float] | None = None  # the arguments of the last `push`
    # Opened during the first evaluation, since clu imports tensorflow, which takes seconds.
    self._tensorboard = futures.ThreadPoolExecutor(1).submit(self._open_tensorboard)

  def _open_tensorboard(self) -> Any:
    """Returns the writer of events, or None without clu."""
    try:
      from clu import metric_writers
    except ImportError:
      LOG.info("no TensorBoard events: clu or tensorflow is not installed; %s has all numbers", self.workdir.metrics.name)
      return None
    return metric_writers.SummaryWriter(str(self.workdir.tensorboard))

  def _write(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
    finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
    json_io.append_line(self.workdir.metrics, {"step": step, "epoch": epoch, **dict.fromkeys(values), **finite})
    if tensorboard := self._tensorboard.result():
      tensorboard.write_scalars(step, finite)

  def write(self, step: int, epoch: int, measurements: Sequence[Measurement]) -> None:
    """Writes measurements made after `step` steps: with protocols to results.json, and values to metrics.jsonl.

    The line of metrics.jsonl, without a loss, is written last and shows that the end of the epoch has been measured; that of
    the baselines has step 0. Raises Stopped if an alert ends the run.
    """
    results.add(self.workdir.results, step, measurements, LOGGED, finished=False)
    self._write(step, epoch, {m.flat_name: m.value for m in measurements})
    self.has_baselines |= step == 0
    self._diagnostics.epoch(step, {m.name: m.value for m in measurements})

  @contextlib.contextmanager
  def waiting(self, task: str = "") -> Iterator[None]:
    """Surrounds a wait for the devices, which is logged if it has a name. Raises UserError if their memory does not suffice."""
    try:
      with heartbeat(task) if task else contextlib.nullcontext():
        yield
    except jax.errors.JaxRuntimeError as error:
      if "RESOURCE_EXHAUSTED" not in str(error):
        raise
      settings = f"train.batch_size={self._config.batch_size} with train.accumulate={self._config.accumulate}"
      raise UserError(
        f"{settings} does not fit in the memory of {self._run.mesh.size} devices; lower the first, raise the second, or try "
        "data.placement=host, a smaller network or smaller views"
      ) from error

  def push(self, step: int, logs: Logs, waited: float) -> None:
    """Stores the metrics of a step and the seconds waited before it; reads those of the previous step.

    Those of a slow step are read at once: a signal then waits for the end of one step instead of two.
    """
    self.flush()
    self._pending = (step, logs, waited)
    if self.progress.slow:
      self.flush()

  def flush(self) -> None:
    """Reads what is pending. Raises Stopped if a loss is not finite, or if an alert ends the run."""
    if self._pending is None:
      return
    (step, logs, waited), self._pending = self._pending, None
    wait = jax.process_count() > 1 or self.progress.slow  # one of several processes may hang
    with self.waiting(f"waiting for step {step}" if wait else ""):
      values = {name: float(value) for name, value in jax.device_get(dict(logs)).items()}
    epoch, _ = self._length.place(step - 1)
    if not math.isfinite(values["loss"]):
      raise Stopped(f"the loss is {values['loss']} at step {step}, epoch {epoch}; try a lower optim.lr")
    alerts = self._diagnostics.active_alerts
    values |= self.progress.update(step, self._length.in_epochs(step), values["loss"], waited, alerts)
    if step % self._config.log_every == 0 or step == self._length.steps:
      self._write(step, epoch, values)
    self._diagnostics.step(step, values)

  def close(self) -> None:
    """Removes the progress bar and writes out the events."""
    self.progress.close()
    if tensorboard := self._tensorboard.result():
      tensorboard.close()
