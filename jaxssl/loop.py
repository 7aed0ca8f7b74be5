"""A run from its first step to its results: epochs, measurements, saves, and a way back after every interruption."""

import contextlib
import logging
import pathlib
import time
from typing import Any

import jax

from jaxssl import distributed, results
from jaxssl import logging as runlog
from jaxssl.checkpoint import Checkpoints
from jaxssl.config import Config
from jaxssl.data.sources import Arrays
from jaxssl.evals import gallery
from jaxssl.evals.base import BASELINES
from jaxssl.evals.measure import Measure
from jaxssl.health import Health, Limits
from jaxssl.ledger import Ledger, Record, Stopped
from jaxssl.report import page
from jaxssl.report.seen import Seen
from jaxssl.run import Run
from jaxssl.types import TrainState
from jaxssl.weights import start
from jaxssl.workdir import CONFIG, check_workdir, hold, write_config

LOG = logging.getLogger("jaxssl")


def train(config: Config, workdir: pathlib.Path, arrays: Arrays | None = None, encoder: Any = None) -> int:
  """Trains in `workdir`, or goes on there.

  Returns the exit code: 0 done; 1 the loss diverged; 75 or 130 saved on a signal, see distributed.Preemption.
  `arrays`: pictures that the calling program gives; `encoder`: its own flax module, for model.name=custom.
  """
  began = time.monotonic()
  config = check_workdir(workdir, config)
  with hold(workdir) if distributed.first() else contextlib.nullcontext(), distributed.Notes(workdir) as kept:
    runlog.start(kept.folder if distributed.first() else None, jax.process_index())
    run = Run(config, kept.folder, arrays, encoder)
    return _train(run, workdir, kept, began)


def _train(run: Run, workdir: pathlib.Path, kept: distributed.Notes, began: float) -> int:
  config, notes = run.config, kept.folder
  measure = Measure(config, run.mesh, run.splits, run.trainer.network, run.state_shapes.teacher is not None)
  write_config(notes, config)  # not before: a config with a mistake must not take the folder
  if run.imported is not None:
    start.keep(run.imported, notes)
  checkpoints = Checkpoints(workdir / "checkpoints", config.train.keep)
  restored = checkpoints.restore(run.state_shapes)
  state, step = restored or (run.init(), 0)
  LOG.info("%s%s", describe(run), f"; resumes at step {step}" if restored else "")
  if config.train.accumulate > 1 and jax.tree.leaves(run.state_shapes.online.stats):
    rows = config.train.batch_size // config.train.accumulate
    LOG.info("train.accumulate=%d: the loss sees the whole batch, BatchNorm parts of %d rows", config.train.accumulate, rows)
  record = Record(notes, step)
  health = Health(config.health, Limits(run.dims.features, run.dims.projection), notes, step)
  with contextlib.closing(record.metrics), contextlib.closing(checkpoints), distributed.Preemption() as stop:
    try:
      if not record.has_baselines:
        with runlog.working(f"measuring raw pixels and the {measure.before} network"):
          found = measure.baselines(state.online if step == 0 else run.untrained(), config.evals.during)
        record.measured(0, 0, found)
      state = epochs(run, state, step, checkpoints, record, measure, health, stop, kept)
    except Stopped as error:
      LOG.error("%s. Last good checkpoint: step %s in %s", error, checkpoints.latest(), workdir / "checkpoints")
      if config.evals.report:
        show(notes, None)
      return 1
  done = int(state.step)
  if done < run.horizon.steps:
    LOG.info("stopped by a signal and saved at step %d; the same command goes on from there", done)
  else:
    compare(run, measure, notes / "results.json")
    conclude(run, workdir, notes, seconds=time.monotonic() - began)
    if config.evals.report:
      show(notes, Seen(state.online, state.teacher, done, measure, notes))
  return stop.code if done < run.horizon.steps else 0


def epochs(
  run: Run,
  state: TrainState,
  step: int,
  checkpoints: Checkpoints,
  record: Record,
  measure: Measure,
  health: Health,
  stop: distributed.Preemption,
  kept: distributed.Notes,
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
        with ledger.stepping():
          state, logs = run.step(state, rows)
        step += 1
        ledger.note(step, logs, waited)
        asked = stop.asked(step)
        if asked or (config.checkpoint_every_steps and step % config.checkpoint_every_steps == 0):
          save()
        if asked:
          return state
        asked_at = time.monotonic()
      ledger.settle()
      last = epoch + 1 == length.epochs
      with jax.transfer_guard("allow"):
        found = measure.memory(state)
        if last or (epoch + 1) % run.config.evals.every == 0:
          names = run.config.evals.end if last else run.config.evals.during
          subject = measure.chosen(state.online, state.teacher)
          with runlog.working(f"measuring {', '.join(names)}"):
            found += measure.all(subject, names)
          record.looked(step, epoch, gallery.look(subject, state.neighbors))
        record.measured(step, epoch, found)
      ledger.stop_if(health.epoch(step, {m.name: m.value for m in found}))
      if last or (epoch + 1) % config.checkpoint_every == 0:
        save()
      kept.publish()
      ledger.progress.pause()
  ledger.progress.close()
  return state


def describe(run: Run) -> str:
  """Says in one line what is trained, where and for how long."""
  c, devices, processes = run.config, jax.devices(), jax.process_count()
  weights = sum(x.size for x in jax.tree.leaves(run.state_shapes.online.params))
  return (
    f"{c.method['name']}, bootstrap {c.bootstrap.policy}: {c.model.name} with heads, {weights / 1e6:.2f} M weights; "
    f"{len(run.train.source)} pictures of {run.train.source.name}, {run.horizon.epochs} epochs of "
    f"{run.horizon.steps_per_epoch} steps of {c.train.batch_size}; {len(devices)} x {devices[0].device_kind}"
    f"{f' of {processes} processes' if processes > 1 else ''}"
  )


def compare(run: Run, measure: Measure, path: pathlib.Path) -> None:
  """Adds the linear probe's baselines to results.json, once: at the end, since nobody waits for the first step there."""
  evals = run.config.evals
  known = any(m["name"].startswith(f"{measure.before}/linear") for m in results.read(path)["measurements"])
  if evals.baselines and not known and "linear" in measure.possible(evals.end):
    with runlog.working(f"measuring linear of raw pixels and of the {measure.before} network"):
      results.add(path, 0, measure.baselines(run.untrained(), ["linear"]))


def conclude(run: Run, workdir: pathlib.Path, notes: pathlib.Path, seconds: float) -> None:
  """Completes results.json, and tells what training bought."""
  path, bad = notes / "results.json", run.splits.bad
  results.add(
    path, run.horizon.steps, [], finished=True, step=run.horizon.steps, epochs=run.horizon.epochs, bad_pictures=len(bad),
    seconds_since_start=round(seconds, 1), config=str(workdir / CONFIG),
  )  # fmt: skip
  measured = results.read(path)["measurements"]
  first = {m["name"]: m["value"] for m in measured if m["step"] == 0}
  final = {m["name"]: m["value"] for m in measured if m["step"] == run.horizon.steps}
  for name in sorted(n for n in final if n.startswith(("knn", "linear", "effective_rank"))):
    beside = ", ".join(f"{of.replace('_', ' ')} {first[f'{of}/{name}']:.2f}" for of in BASELINES if f"{of}/{name}" in first)
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
