"""A run from its first step to its results: epochs, measurements, saves, and a way back after every interruption."""

import dataclasses
import json
import logging
import math
import pathlib
import signal
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

import jax

from jaxssl import logging as runlog
from jaxssl import results
from jaxssl.checkpoint import Checkpoints
from jaxssl.config import Config, read
from jaxssl.data.sources import Arrays
from jaxssl.evals import gallery
from jaxssl.evals.base import Measurement
from jaxssl.evals.measure import Measure
from jaxssl.health import Health, Limits
from jaxssl.report import page
from jaxssl.report.seen import Seen
from jaxssl.run import Run
from jaxssl.types import Logs, TrainState, UserError

LOG = logging.getLogger("jaxssl")
CONFIG = "config.json"


class Stopped(Exception):
  """The run is over before its end: the loss is no finite number any more, or a verdict that the config names was given."""


def train(config: Config, workdir: pathlib.Path, arrays: Arrays | None = None) -> int:
  """Trains in `workdir`, or goes on there. Returns the exit code: 0 done, or saved on a signal; 1 the loss diverged."""
  check_workdir(workdir, config)
  runlog.start(workdir)
  began = time.monotonic()
  run = Run(config, workdir, arrays)
  measure = Measure(config, run.mesh, run.splits, run.trainer.network, run.state_shapes.teacher is not None)
  write_config(workdir, config)  # not before: a config with a mistake must not take the folder
  checkpoints = Checkpoints(workdir / "checkpoints", config.train.keep)
  restored = checkpoints.restore(run.state_shapes)
  state, step = restored or (run.init(), 0)
  LOG.info("%s%s", describe(run), f"; resumes at step {step}" if restored else "")
  if config.train.accumulate > 1 and jax.tree.leaves(run.state_shapes.online.stats):
    rows = config.train.batch_size // config.train.accumulate
    LOG.info("train.accumulate=%d: the loss sees the whole batch, BatchNorm parts of %d rows", config.train.accumulate, rows)
  record = Record(workdir, step)
  health = Health(config.health, Limits(run.dims.features, run.dims.projection), workdir, step)
  with StopSignal() as stop:
    try:
      if not record.has_baselines:
        record.measured(0, 0, measure.baselines(state.online if step == 0 else run.init().online))
      state = epochs(run, state, step, checkpoints, record, measure, health, stop)
    except Stopped as error:
      LOG.error("%s. Last good checkpoint: step %s in %s", error, checkpoints.latest(), workdir / "checkpoints")
      if config.evals.report:
        show(workdir, None)
      return 1
    finally:
      checkpoints.close()
      record.metrics.close()
  done = int(state.step)
  if done < run.horizon.steps:
    LOG.info("stopped by a signal and saved at step %d; the same command goes on from there", done)
  else:
    conclude(run, workdir, seconds=time.monotonic() - began)
    if config.evals.report:
      show(workdir, Seen(state.online, state.teacher, done, measure))
  return 0


def epochs(
  run: Run,
  state: TrainState,
  step: int,
  checkpoints: Checkpoints,
  record: "Record",
  measure: Measure,
  health: Health,
  stop: "StopSignal",
) -> TrainState:
  """Trains from `step` to the end of the run, or until asked to stop; what it returns is saved."""
  config, length = run.config.train, run.horizon
  ledger = Ledger(run, record.metrics, health, step)

  def save() -> None:
    ledger.settle()  # a state whose loss is not finite is never saved
    checkpoints.save(step, state)

  with jax.transfer_guard("disallow"):
    for epoch in range(step // length.steps_per_epoch, length.epochs):
      first = step - epoch * length.steps_per_epoch
      if first == 0:
        state = run.open_epoch(state, epoch)
      batches = run.rows(state, epoch, first)
      asked_at = time.monotonic()
      for rows in batches:
        waited = time.monotonic() - asked_at
        state, logs = run.step(state, rows)
        step += 1
        ledger.note(step, logs, waited)
        if stop.asked or (config.checkpoint_every_steps and step % config.checkpoint_every_steps == 0):
          save()
        if stop.asked:
          return state
        asked_at = time.monotonic()
      ledger.settle()
      last = epoch + 1 == length.epochs
      with jax.transfer_guard("allow"):
        found = measure.memory(state)
        if last or (epoch + 1) % run.config.evals.every == 0:
          names = run.config.evals.end if last else run.config.evals.during
          subject = measure.chosen(state.online, state.teacher)
          found += measure.all(subject, names)
          record.looked(step, epoch, gallery.look(subject, state.neighbors))
        record.measured(step, epoch, found)
      ledger.stop_if(health.epoch(step, {m.name: m.value for m in found}))
      if last or (epoch + 1) % config.checkpoint_every == 0:
        save()
      ledger.progress.pause()
  ledger.progress.close()
  return state


class Record:
  """Where measurements go: metrics.jsonl and TensorBoard by name and value, results.json with their protocols."""

  def __init__(self, workdir: pathlib.Path, step: int):
    """Opens a workdir whose run is at `step`; what is noted of later steps is taken out, since they come again."""
    self._results = workdir / "results.json"
    results.cut(self._results, step)
    self.has_baselines = bool(results.read(self._results))
    self._neighbors = workdir / "neighbors.jsonl"
    runlog.cut(self._neighbors, step)
    self.metrics = runlog.Metrics(workdir, step)

  def measured(self, step: int, epoch: int, found: Sequence[Measurement]) -> None:
    """Writes measurements down, and shows the first of them."""
    self.metrics.write(step, epoch, {m.name: m.value for m in found})
    results.add(self._results, step, found, finished=False)

  def looked(self, step: int, epoch: int, seen: Mapping[str, Any]) -> None:
    """Adds a line to neighbors.jsonl."""
    with self._neighbors.open("a") as file:
      file.write(json.dumps({"step": step, "epoch": epoch, **seen}) + "\n")


class Ledger:
  """Reads each step's figures after the next step was dispatched, so that the host never waits for the device."""

  def __init__(self, run: Run, metrics: runlog.Metrics, health: Health, step: int):
    self._run, self._metrics, self._health = run, metrics, health
    self._pending: tuple[int, Logs] | None = None
    self.progress = runlog.Progress(run.horizon.steps, step, run.config.train.batch_size)

  def note(self, step: int, logs: Logs, waited: float) -> None:
    """Takes the figures of a step that was dispatched, and reads those of the one before."""
    self.progress.wait(waited)
    self.settle()
    self._pending = (step, logs)

  def settle(self) -> None:
    """Reads what is pending; raises Stopped when a loss is not finite, or the run's health is such that it should end."""
    if self._pending is None:
      return
    step, logs = self._pending
    self._pending = None
    values = {name: float(value) for name, value in jax.device_get(dict(logs)).items()}
    epoch = (step - 1) // self._run.horizon.steps_per_epoch
    if not math.isfinite(values["loss"]):
      raise Stopped(f"the loss is {values['loss']} at step {step}, epoch {epoch}: try a lower optim.lr")
    warning = self._health.standing
    speed = self.progress.update(step, step / self._run.horizon.steps_per_epoch, values["loss"], warning)
    if step % self._run.config.train.log_every == 0 or step == self._run.horizon.steps:
      self._metrics.write(step, epoch, {**values, **speed})
    self.stop_if(self._health.step(step, {**values, **speed}))

  def stop_if(self, reason: str | None) -> None:
    """Raises Stopped where there is a reason to."""
    if reason:
      raise Stopped(f"health.stop: {reason}")


class StopSignal:
  """Notes SIGTERM and SIGINT, so that the run saves and leaves; a second one ends it at once."""

  def __enter__(self) -> "StopSignal":
    self.asked = False
    self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
    return self

  def _note(self, number: int, frame: FrameType | None) -> None:
    self.asked = True
    signal.signal(number, self._before[signal.Signals(number)])

  def __exit__(self, *_: object) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)


def check_workdir(workdir: pathlib.Path, config: Config) -> None:
  """Makes the workdir; raises UserError when it holds a run of another config, naming the differing fields."""
  path = workdir / CONFIG
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    theirs = json.loads(path.read_text()) if path.exists() else None
  except (OSError, json.JSONDecodeError) as error:
    raise UserError(f"--workdir {workdir} cannot be used: {error}") from error
  if theirs is None:
    return
  try:
    theirs = as_json(read(Config, theirs))  # fields that are newer than the run have their defaults
  except UserError:
    pass  # it has fields that there are no more: they are listed
  differing = differences(theirs, as_json(config))
  if differing:
    listed = "; ".join(f"{name}: {theirs!r} there, {ours!r} here" for name, theirs, ours in differing)
    raise UserError(f"--workdir {workdir} belongs to another config: {listed}. Use another --workdir, or the same values")


def write_config(workdir: pathlib.Path, config: Config) -> None:
  """Writes config.json, where there is none yet: from then on the workdir belongs to this config."""
  if not (workdir / CONFIG).exists():
    temporary = (workdir / CONFIG).with_suffix(".tmp")
    temporary.write_text(json.dumps(as_json(config), indent=2) + "\n")
    temporary.replace(workdir / CONFIG)


def as_json(config: Config) -> dict:
  """Gives a config as JSON reads it back."""
  return json.loads(json.dumps(dataclasses.asdict(config)))


def differences(theirs: Mapping, ours: Mapping, where: str = "") -> list[tuple[str, object, object]]:
  """Lists the fields in which two configs differ: (name, value there, value here)."""
  found = []
  for name in sorted({*theirs, *ours}):
    a, b = theirs.get(name), ours.get(name)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
      found += differences(a, b, f"{where}{name}.")
    elif a != b:
      found.append((where + name, a, b))
  return found


def describe(run: Run) -> str:
  """Says in one line what is trained, where and for how long."""
  c, devices = run.config, jax.devices()
  weights = sum(x.size for x in jax.tree.leaves(run.state_shapes.online.params))
  return (
    f"{c.method['name']}, bootstrap {c.bootstrap.policy}: {c.model.name} with heads, {weights / 1e6:.2f} M weights; "
    f"{len(run.train.source)} pictures of {run.train.source.name}, {run.horizon.epochs} epochs of "
    f"{run.horizon.steps_per_epoch} steps of {c.train.batch_size}; {len(devices)} x {devices[0].device_kind}"
  )


def conclude(run: Run, workdir: pathlib.Path, seconds: float) -> None:
  """Completes results.json, and tells what training bought."""
  path, bad = workdir / "results.json", run.splits.bad
  results.add(
    path, run.horizon.steps, [], finished=True, step=run.horizon.steps, epochs=run.horizon.epochs, bad_pictures=len(bad),
    seconds_since_start=round(seconds, 1), config=str(workdir / CONFIG),
  )  # fmt: skip
  measured = results.read(path)["measurements"]
  first = {m["name"]: m["value"] for m in measured if m["step"] == 0}
  final = {m["name"]: m["value"] for m in measured if m["step"] == run.horizon.steps}
  for name in sorted(n for n in final if n.startswith(("knn", "linear", "effective_rank"))):
    beside = ", ".join(
      f"{of.replace('_', ' ')} {first[f'{of}/{name}']:.2f}" for of in ("raw_pixels", "untrained") if f"{of}/{name}" in first
    )
    LOG.info("%s %.2f%s", name, final[name], f" ({beside})" if beside else "")
  if bad:
    LOG.info("%d pictures could not be read; see %s", len(bad), workdir / "bad_files.txt")
  LOG.info("done in %.0f s; everything is in %s", seconds, workdir)


def show(workdir: pathlib.Path, run: Seen | None) -> None:
  """Writes report.html, of the last good checkpoint where no run is given. Where it cannot, it says so in one line."""
  try:
    page.write([(workdir, run)], workdir / "report.html")
  except Exception as error:  # whatever it is, what was trained and measured stands
    LOG.warning("no report.html: %s: %s", type(error).__name__, " ".join(str(error).split()))
  else:
    LOG.info("what it learned, to be looked at: %s", workdir / "report.html")
