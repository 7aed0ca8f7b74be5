"""Writes metrics and measurements of a run; the metrics of a step are read one step late."""

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from jaxssl.bootstrap import metrics as bootstrap_metrics
from jaxssl.core import LOG, UserError, heartbeat, json_io
from jaxssl.core.metric import Measurement, Metric
from jaxssl.core.types import Logs
from jaxssl.data.datasets import Datasets
from jaxssl.methods import base as methods
from jaxssl.train.diagnostics import Diagnostics, Stopped
from jaxssl.train.loggers.background import close_all
from jaxssl.train.loggers.open import open_loggers
from jaxssl.train.neighbor_sheets import sheets
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
  Metric("seconds", "Seconds since the start", "Without pauses, and without steps that were repeated after them.", "Speed"),
)
LOGGED = (*STEP_METRICS, *methods.METRICS, *bootstrap_metrics.METRICS.values())
OnMetrics = Callable[[dict[str, Any]], object]  # of {"step": int, "epoch": int, "values": {name: float}}


def schedule_metric(name: str) -> Metric:
  """Returns the metric of a value that changes over the run."""
  return Metric(name, name.replace("_", " ").capitalize(), "Set by a schedule of the config.", "Schedules")


class MetricLogger:
  """Writes metrics.jsonl, results.json and neighbors.jsonl, and the same numbers to TensorBoard and other trackers.

  The metrics of a step are read after the next one is dispatched, so that the host never waits for the device.
  """

  def __init__(
    self, run: Experiment, workdir: LocalWorkdir, step: int, name: str, began: float, on_metrics: OnMetrics | None = None
  ):
    """Opens the workdir of a run at `step`; removes what was written for later steps.

    `name`: of the run; `began`: the time.monotonic() at which it was started or resumed; `on_metrics`: called with the values
    of every line of metrics.jsonl. Raises UserError if a tracker that the config names cannot be used.
    """
    self.workdir = workdir
    self.failure: Exception | None = None  # of `on_metrics`, which is not called again
    self._run, self._length, self._config = run, run.training_length, run.config.train
    self._step, self._on_metrics, self._schedules = step, on_metrics, run.schedules
    self._metrics = {metric.name: metric for metric in (*LOGGED, *map(schedule_metric, self._schedules))}
    if not workdir.results.exists():
      results.add(workdir.results, step, [], self._metrics.values(), training=True, finished=False)
    document = results.read(workdir.results)
    results.cut(workdir.results, step, self._length.steps)
    before = [line for line in json_io.lines(workdir.metrics) if line["step"] <= step]
    self._began = began - max((seconds for line in before if (seconds := json_io.finite(line.get("seconds")))), default=0.0)
    ends = [line for line in before if "loss" not in line]  # see `write`
    self.has_baselines = any(line["step"] == 0 for line in ends)
    epoch, begun = self._length.place(step)
    measured = any(line["step"] and line.get("epoch") == epoch - 1 for line in ends)
    if step == self._length.steps:  # perhaps of a run that was longer, and measured less after this epoch
      measured &= step in (document.get("final_step"), document.get("step") if document.get("finished") else None)
    self.unmeasured = epoch - 1 if epoch and not begun and not measured else None  # the epoch that was cut short at its end
    if self.unmeasured is not None:
      before = [line for line in before if "loss" in line or line["step"] < step]
    json_io.write_lines(workdir.metrics, before)
    json_io.truncate_lines(workdir.neighbors, step if self.unmeasured is None else step - 1)
    self._diagnostics = Diagnostics(run.config.health, run.train_step.dims, workdir, step)
    self.progress = Progress(self._length.steps, step, self._config.batch_size)
    self._pending: tuple[int, Logs, float] | None = None  # the arguments of the last `push`
    self._loggers = open_loggers(run.config, workdir, name)

  @property
  def seconds(self) -> float:
    """Seconds since the run was started, without those between its stops and resumes."""
    return time.monotonic() - self._began

  def _write(self, step: int, epoch: int, values: Mapping[str, float], tags: Mapping[str, str]) -> None:
    """Writes values by name to metrics.jsonl, by tag to the loggers, and passes them to the calling program."""
    finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
    json_io.append_line(self.workdir.metrics, {"step": step, "epoch": epoch, **dict.fromkeys(values), **finite})
    for logger in self._loggers:
      logger.write(step, {tags[name]: value for name, value in finite.items()})
    if self._on_metrics and self.failure is None:
      try:
        self._on_metrics({"step": step, "epoch": epoch, "values": finite})
      except Exception as error:  # raised again by `raise_failure`, once the run is saved
        self.failure = error

  def write(self, step: int, epoch: int, measurements: Sequence[Measurement]) -> None:
    """Writes measurements made after `step` steps: with protocols to results.json, and values to metrics.jsonl.

    The line of metrics.jsonl, without a loss, is written last and shows that the end of the epoch has been measured; that of
    the baselines has step 0. Raises Stopped if an alert ends the run.
    """
    # the step after which the final evaluations were made
    final: dict[str, Any] = {"final_step": step} if step == self._length.steps else {}
    results.add(self.workdir.results, step, measurements, self._metrics.values(), training=True, finished=False, **final)
    values = {m.flat_name: m.value for m in measurements} | {"seconds": round(self.seconds, 3)}
    tags = {m.flat_name: m.tag for m in measurements} | {"seconds": self._metrics["seconds"].tag}
    self._write(step, epoch, values, tags)
    self.has_baselines |= step == 0
    self._diagnostics.epoch(step, {m.name: m.value for m in measurements})

  def write_neighbors(self, step: int, epoch: int, datasets: Datasets, examples: Mapping[str, Any]) -> None:
    """Writes the result of `evals.neighbors.nearest_examples` on these datasets, and the loggers get them as images."""
    json_io.append_line(self.workdir.neighbors, {"step": step, "epoch": epoch, **examples})
    draw = functools.cache(lambda: sheets(datasets, examples))
    for logger in self._loggers:
      logger.images(step, draw)

  def raise_failure(self) -> None:
    """Raises the exception that `on_metrics` has raised, if any."""
    if self.failure is not None:
      LOG.error(
        "on_metrics raised %s, which ends the run; its steps are saved: train again to resume", type(self.failure).__name__
      )
      raise self.failure

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
        "model.remat=true, data.placement=host, a smaller network or smaller views"
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
    self._step = step
    if step % self._config.log_every == 0 or step == self._length.steps:
      values |= {name: float(schedule(step - 1)) for name, schedule in self._schedules.items()}
      values["seconds"] = round(self.seconds, 3)
      self._write(step, epoch, values, {name: self._metric(name).tag for name in values})
    self._diagnostics.step(step, values)

  def close(self) -> None:
    """Removes the progress bar and closes the loggers."""
    self.progress.close()
    close_all(self._loggers, finished=self._step == self._length.steps)

  def _metric(self, name: str) -> Metric:
    """Returns the definition of a metric; a method of the user may log one without any."""
    return self._metrics.get(name) or Metric(name, name)
