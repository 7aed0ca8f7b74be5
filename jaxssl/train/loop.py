"""Trains a run: epochs, evaluations, checkpoints, resume."""

import contextlib
import logging
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax

from jaxssl.config.schema import Config
from jaxssl.core import log as runlog
from jaxssl.core.types import TrainState
from jaxssl.data.datasets import Arrays
from jaxssl.evals import neighbors
from jaxssl.evals.evaluator import Evaluator
from jaxssl.evals.load_run import LoadedRun
from jaxssl.parallel import processes
from jaxssl.parallel.preemption import Preemption
from jaxssl.pretrained import init_from
from jaxssl.train.diagnostics import Diagnostics, MetricRange
from jaxssl.train.metrics import MetricLogger, RunWriter, Stopped
from jaxssl.train.setup import Experiment
from jaxssl.workdir import results
from jaxssl.workdir.checkpoint import Checkpoints
from jaxssl.workdir.results import BASELINES
from jaxssl.workdir.sync import LocalWorkdir
from jaxssl.workdir.workdir import CONFIG, check_workdir, hold, write_config

LOG = logging.getLogger("jaxssl")


Report = Callable[[pathlib.Path, LoadedRun | None], None]  # (folder, run; None after a failure): writes a report there


def train(
  config: Config,
  workdir: pathlib.Path,
  arrays: Arrays | None = None,
  encoder: Any = None,
  report: Report | None = None,
) -> int:
  """Trains in `workdir`, or resumes the run there.

  Returns the exit code: 0 done; 1 the loss diverged; 75 or 130 saved on a signal, see distributed.Preemption.
  `arrays`: images that the calling program gives; `encoder`: its own flax module, for model.name=custom; `report`: called at
  the end if `evals.report` asks for one.
  """
  began = time.monotonic()
  config = check_workdir(workdir, config)
  with hold(workdir) if processes.is_primary() else contextlib.nullcontext(), LocalWorkdir(workdir) as kept:
    runlog.start(kept.folder if processes.is_primary() else None, jax.process_index())
    run = Experiment(config, kept.folder, arrays, encoder)
    return _train(run, workdir, kept, began, report if config.evals.report else None)


def _train(run: Experiment, workdir: pathlib.Path, kept: LocalWorkdir, began: float, report: Report | None) -> int:
  config, notes = run.config, kept.folder
  measure = Evaluator(config, run.mesh, run.datasets, run.train_step.network, run.state_shapes.teacher is not None)
  write_config(notes, config)  # only now: an invalid config must not claim the folder
  if run.imported is not None:
    init_from.keep(run.imported, notes)
  checkpoints = Checkpoints(workdir / "checkpoints", config.train.max_to_keep)
  restored = checkpoints.restore(run.state_shapes)
  state, step = restored or (run.init(), 0)
  LOG.info("%s%s", summary_line(run), f"; resumes at step {step}" if restored else "")
  if config.train.accumulate > 1 and jax.tree.leaves(run.state_shapes.student.stats):
    rows = config.train.batch_size // config.train.accumulate
    LOG.info("train.accumulate=%d: the loss sees the whole batch, BatchNorm parts of %d rows", config.train.accumulate, rows)
  record = RunWriter(notes, step)
  health = Diagnostics(config.health, MetricRange(run.dims.features, run.dims.projection), notes, step)
  with contextlib.closing(record.metrics), contextlib.closing(checkpoints), Preemption() as stop:
    try:
      if not record.has_baselines:
        with runlog.heartbeat(f"measuring raw pixels and the {measure.before} network"):
          found = measure.baselines(state.student if step == 0 else run.untrained(), config.evals.periodic)
        record.measured(0, 0, found)
      state = epochs(run, state, step, checkpoints, record, measure, health, stop, kept)
    except Stopped as error:
      LOG.error("%s. Last good checkpoint: step %s in %s", error, checkpoints.latest(), workdir / "checkpoints")
      if report:
        report(notes, None)
      return 1
  done = int(state.step)
  if done < run.training_length.steps:
    LOG.info("stopped by a signal and saved at step %d; rerun the same command to resume", done)
  else:
    add_linear_baselines(run, measure, notes / "results.json")
    finalize(run, workdir, notes, seconds=time.monotonic() - began)
    if report:
      report(notes, LoadedRun(state.student, state.teacher, done, measure, notes))
  return stop.code if done < run.training_length.steps else 0


def epochs(
  run: Experiment,
  state: TrainState,
  step: int,
  checkpoints: Checkpoints,
  record: RunWriter,
  measure: Evaluator,
  health: Diagnostics,
  stop: Preemption,
  kept: LocalWorkdir,
) -> TrainState:
  """Trains from `step` to the end of the run or until a signal; the returned state is saved."""
  config, length = run.config.train, run.training_length
  ledger = MetricLogger(run, record.metrics, health, step)

  def save() -> None:
    ledger.flush()  # a state whose loss is not finite is never saved
    checkpoints.save(step, state)

  with jax.transfer_guard("disallow"):
    for epoch in range(step // length.steps_per_epoch, length.epochs):
      first = step - epoch * length.steps_per_epoch
      if first == 0:
        state = run.start_epoch(state, epoch)
      batches = run.batches(state, epoch, first)
      asked_at = time.monotonic()
      for rows in batches:
        waited = time.monotonic() - asked_at
        with ledger.compiling():
          state, logs = run.step(state, rows)
        step += 1
        ledger.push(step, logs, waited)
        stop_requested = stop.stop_requested(step)
        if stop_requested or (config.checkpoint_every_steps and step % config.checkpoint_every_steps == 0):
          save()
        if stop_requested:
          return state
        asked_at = time.monotonic()
      ledger.flush()
      last = epoch + 1 == length.epochs
      with jax.transfer_guard("allow"):
        found = measure.memory(state)
        if last or (epoch + 1) % run.config.evals.every == 0:
          names = run.config.evals.final if last else run.config.evals.periodic
          subject = measure.chosen(state.student, state.teacher)
          with runlog.heartbeat(f"measuring {', '.join(names)}"):
            found += measure.all(subject, names)
          record.looked(step, epoch, neighbors.nearest_examples(subject, state.neighbor_bank))
        record.measured(step, epoch, found)
      ledger.stop_if(health.epoch(step, {m.name: m.value for m in found}))
      if last or (epoch + 1) % config.checkpoint_every_epochs == 0:
        save()
      kept.publish()
      ledger.progress.pause()
  ledger.progress.close()
  return state


def summary_line(run: Experiment) -> str:
  """Describes in one line what is trained, where and for how long."""
  c, devices, processes = run.config, jax.devices(), jax.process_count()
  weights = sum(x.size for x in jax.tree.leaves(run.state_shapes.student.params))
  return (
    f"{c.method['name']}, bootstrap {c.bootstrap.policy}: {c.model.name} with heads, {weights / 1e6:.2f} M weights; "
    f"{len(run.train.source)} images of {run.train.source.name}, {run.training_length.epochs} epochs of "
    f"{run.training_length.steps_per_epoch} steps of {c.train.batch_size}; {len(devices)} x {devices[0].device_kind}"
    f"{f' of {processes} processes' if processes > 1 else ''}"
  )


def add_linear_baselines(run: Experiment, measure: Evaluator, path: pathlib.Path) -> None:
  """Adds the linear probe's baselines to the results, once, at the end, so that they do not delay the first step."""
  evals = run.config.evals
  known = any(m["name"].startswith(f"{measure.before}/linear") for m in results.read(path)["measurements"])
  if evals.baselines and not known and "linear" in measure.possible(evals.final):
    with runlog.heartbeat(f"measuring linear of raw pixels and of the {measure.before} network"):
      results.add(path, 0, measure.baselines(run.untrained(), ["linear"]))


def finalize(run: Experiment, workdir: pathlib.Path, notes: pathlib.Path, seconds: float) -> None:
  """Completes the results and logs the trained features beside raw pixels and the untrained network."""
  path, bad = notes / "results.json", run.datasets.unreadable
  results.add(
    path,
    run.training_length.steps,
    [],
    finished=True,
    step=run.training_length.steps,
    epochs=run.training_length.epochs,
    bad_images=len(bad),
    seconds_since_start=round(seconds, 1),
    config=str(workdir / CONFIG),
  )
  measured = results.read(path)["measurements"]
  first = {m["name"]: m["value"] for m in measured if m["step"] == 0}
  final = {m["name"]: m["value"] for m in measured if m["step"] == run.training_length.steps}
  for name in sorted(n for n in final if n.startswith(("knn", "linear", "effective_rank"))):
    beside = ", ".join(f"{of.replace('_', ' ')} {first[f'{of}/{name}']:.2f}" for of in BASELINES if f"{of}/{name}" in first)
    LOG.info("%s %.2f%s", name, final[name], f" ({beside})" if beside else "")
  if bad:
    LOG.info("%d images are unreadable; see %s", len(bad), workdir / "bad_files.txt")
  LOG.info("done in %.0f s; everything is in %s", seconds, workdir)
