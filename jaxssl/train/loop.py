"""Trains a run from its first step to its results, or resumes it: epochs, evaluation, checkpoints."""

import contextlib
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax

from jaxssl.config.absolute import absolute_paths
from jaxssl.config.schema import Config
from jaxssl.core import LOG, Unavailable, UserError, heartbeat, log, paths
from jaxssl.core.types import TrainState
from jaxssl.data import kept_listing
from jaxssl.data.datasets import Arrays
from jaxssl.evals import evaluator as evaluations
from jaxssl.evals import verdict
from jaxssl.evals.evaluator import Evaluator
from jaxssl.evals.feature_stats import CROPS_ALIKE
from jaxssl.evals.features import all_finite
from jaxssl.evals.load_run import LoadedRun
from jaxssl.parallel import preemption, processes
from jaxssl.parallel.preemption import Preemption, StopRequested
from jaxssl.pretrained import init_from
from jaxssl.train import diagnostics
from jaxssl.train.config_changes import ConfigChanges
from jaxssl.train.diagnostics import Stopped
from jaxssl.train.doubts import doubts
from jaxssl.train.epoch_end import EpochEnd
from jaxssl.train.loggers import open as loggers
from jaxssl.train.metrics import MetricLogger, OnMetrics
from jaxssl.train.run_images import RunImages
from jaxssl.train.setup import Experiment
from jaxssl.workdir import results
from jaxssl.workdir.checkpoint import Checkpoints
from jaxssl.workdir.records import RunRecord
from jaxssl.workdir.sync import LocalWorkdir
from jaxssl.workdir.workdir import Workdir

SAVING = "the run is saved and stops after the current step, or compilation"  # what follows a signal
UNREPORTED = "stopping without the report; the run is complete, and the same command writes its report"
PREPARING = "preparing the first step"

Report = Callable[[Workdir, LoadedRun | None], None]  # (workdir, run; None after a failure): writes a report there


def train(
  config: Config,
  workdir: pathlib.Path,
  arrays: Arrays | None = None,
  encoder: Any = None,
  report: Report | None = None,
  accept_changes: bool = False,
  on_metrics: OnMetrics | None = None,
) -> int:
  """Trains in `workdir`, or resumes the run there.

  Returns the exit code: 0 done; 3 stopped, see `Stopped`; 75 or 130 stopped by a signal, with all steps saved. Raises
  StopRequested for a signal before training begins. `arrays`: images of the calling program; `encoder`: its own flax module,
  for model.name=custom; `report`: called at the end if `evals.report` asks for one; `accept_changes`: resume although the
  training images, or fields that change what is learned, have changed; `on_metrics`: called with the values of every line of
  metrics.jsonl; if it raises an exception, the run is saved, and then ends with it.
  """
  began = time.monotonic()
  original = Workdir(workdir.absolute() if paths.is_local(workdir) else workdir)
  changes = ConfigChanges(original, absolute_paths(config), accept_changes)
  config, report = changes.config, report if config.evals.report else None
  hold = original.hold() if processes.is_primary() else contextlib.nullcontext()
  with (
    hold,
    LocalWorkdir(original) as local,
    preemption.handled() as stop,
    log.also_in(local.log if processes.is_primary() else None, jax.process_index()),
  ):
    evaluations.check_config(config)
    diagnostics.check(config.health)
    loggers.check(config.log)
    images = RunImages(original, local, changes, accept_changes)
    with kept_listing.kept_in(local, again=accept_changes):
      run = Experiment(config, local.folder, arrays, encoder, images.check)
    config = run.config
    evaluator = Evaluator(config, run.mesh, run.datasets, run.train_step.network)
    evaluator.check_run()
    changes.check_state(run, encoder)
    if run.imported is not None:
      init_from.keep(run.imported, local.folder)
    checkpoints = Checkpoints(local.checkpoints, config.train.max_to_keep)
    if checkpoints.latest() is None and results.read(local.results).get("finished"):
      gone = f"the run is finished, but its checkpoints are gone from {original.checkpoints}"
      raise UserError(f"--workdir {original.folder}: {gone}; restore them, or use another --workdir to train again")
    with heartbeat("initializing the networks, usually within 20 s, or reading the checkpoint"):
      restored = images.restore(run, checkpoints)
      state, step = restored or (run.init(), 0)
    changes.record(local, run, step)
    local.upload()
    LOG.info("%s%s", summary_line(run), f"; resumes at step {step}" if restored else "")
    for doubt in doubts(config):
      LOG.warning("%s", doubt)
    if config.train.accumulate > 1 and jax.tree.leaves(run.state_shapes.student.stats):
      rows = config.train.batch_size // config.train.accumulate
      LOG.info("train.accumulate=%d: the loss sees the whole batch, BatchNorm parts of %d rows", config.train.accumulate, rows)
    logger = MetricLogger(run, local, step, original.folder.name, began, on_metrics)
    with stop.held(SAVING):
      try:
        with contextlib.closing(logger), contextlib.closing(checkpoints):
          state = epochs(run, state, checkpoints, logger, evaluator, stop)
        logger.raise_failure()
        finalize(run, original, local, seconds=logger.seconds)
        if report:
          extractor = evaluator.chosen(state.student, state.teacher)
          about = {"network": extractor.network, "which": extractor.subject, "variables": extractor.variables}
          about |= {"step": int(state.step), "open_evaluator": lambda: evaluator}
          with stop.interruptible(UNREPORTED):
            report(local, LoadedRun(workdir=local, config=config, mesh=run.mesh, **about))
      except Stopped as error:
        LOG.error("%s. Last good checkpoint: step %s in %s", error, checkpoints.latest(), original.checkpoints)
        if report:
          report(local, None)
        return error.exit_code
      except StopRequested as request:
        logger.raise_failure()
        return request.code
    return 0


def epochs(
  run: Experiment, state: TrainState, checkpoints: Checkpoints, logger: MetricLogger, evaluator: Evaluator, stop: Preemption
) -> TrainState:
  """Trains from `state` to the end of the run, of which it returns the state. Raises StopRequested, with all steps saved.

  If storage does not respond, the state is saved, and Unavailable is raised. An epoch is saved before it is
  measured; what was cut short by a signal, or a crash, is measured when the run resumes.
  """
  config, length, end = run.config.train, run.training_length, EpochEnd(run, evaluator, logger, stop)
  step = started_at = int(state.step)

  def save() -> None:
    logger.flush()  # a state whose loss is not finite is never saved, nor one that the last update has destroyed
    if not jax.device_get(all_finite(state.student)):
      raise Stopped(f"the weights are not finite after step {step}; try a lower optim.lr")
    checkpoints.save(step, state)

  def stop_if_requested() -> None:
    if logger.failure:
      stop.request()
    if stop.stop_requested():
      raise StopRequested(stop.code)

  try:
    with jax.transfer_guard("disallow"):
      stop_if_requested()
      if logger.unmeasured is not None:
        end.measure(state, step, logger.unmeasured)
      for epoch in range(length.place(step)[0], length.epochs):
        _, first = length.place(step)
        if first == 0:
          with logger.waiting(PREPARING if step == started_at else ""):
            state = run.start_epoch(state, epoch)
        batches = run.batches(state, epoch, first)
        asked_at = time.monotonic()
        for rows in batches:
          waited = time.monotonic() - asked_at
          task = logger.progress.expect(run.cost_of_step(state, rows)) if step == started_at else ""
          with logger.waiting(task):
            state, logs = run.step(state, rows)
          if step == started_at:
            logger.progress.compiled(step, waited)
          step += 1
          logger.push(step, logs, waited)
          stop_if_requested()
          if config.checkpoint_every_steps and step % config.checkpoint_every_steps == 0:
            save()
          asked_at = time.monotonic()
        logger.flush()
        if epoch + 1 == length.epochs or (epoch + 1) % config.checkpoint_every_epochs == 0:
          save()
        end.measure(state, step, epoch)
        logger.workdir.upload()
        logger.progress.pause()
  except Unavailable:
    if step > started_at and jax.process_count() == 1:  # the others of several could not save with this one
      save()
    raise
  except StopRequested:
    if step > started_at:
      save()
    LOG.info("stopped by a signal%s at step %d; rerun the same command to resume", " and saved" * (step > started_at), step)
    raise
  return state


def summary_line(run: Experiment) -> str:
  """Returns one line about what is trained, where and for how long."""
  c, length, source, devices = run.config, run.training_length, run.train.source, jax.devices()
  weights = sum(x.size for x in jax.tree.leaves(run.state_shapes.student.params))
  processes = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
  return (
    f"{c.method['name']}, bootstrap {c.bootstrap.policy}: {c.model.name} with heads, {weights / 1e6:.2f} M weights; "
    f"{len(source)} images of {source.name}, {length.epochs} epochs of {length.steps_per_epoch} steps of {c.train.batch_size}; "
    f"{len(devices)} x {devices[0].device_kind}{processes}"
  )


def finalize(run: Experiment, original: Workdir, local: Workdir, seconds: float) -> None:
  """Completes results.json, and logs the main results beside the baselines."""
  unreadable, length = run.datasets.unreadable, run.training_length
  facts = {"finished": True, "step": length.steps, "epochs": length.epochs, "bad_images": len(unreadable)}
  facts |= {"seconds_since_start": round(seconds, 1), "config": str(original.config)}
  results.add(local.results, length.steps, [], training=True, **facts)
  record = RunRecord(local)
  finals = [final for final in record.finals() if final.evaluation in verdict.WITH_LABELS]
  for final in finals or [final for final in record.finals() if final.metric == CROPS_ALIKE]:
    LOG.info("%s", final)
  LOG.info("Did it learn? %s", verdict.verdict(record))
  if unreadable:
    LOG.info("%d images are unreadable; see %s", len(unreadable), original.unreadable)
  LOG.info("done in %.0f s; results: %s", seconds, original.folder)
