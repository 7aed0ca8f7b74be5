"""Trains a run from its first step to its results, or resumes it: epochs, evaluation, checkpoints."""

import contextlib
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax

from jaxssl.config.absolute import absolute_paths
from jaxssl.config.schema import Config
from jaxssl.core import LOG, heartbeat, log, paths
from jaxssl.core.types import TrainState
from jaxssl.data.datasets import Arrays
from jaxssl.evals import feature_stats, neighbors
from jaxssl.evals.evaluator import Evaluator, check_names
from jaxssl.evals.load_run import LoadedRun
from jaxssl.parallel import processes
from jaxssl.parallel.preemption import Preemption
from jaxssl.pretrained import init_from
from jaxssl.train.config_changes import ConfigChanges
from jaxssl.train.diagnostics import Stopped
from jaxssl.train.loggers import open as loggers
from jaxssl.train.metrics import MetricLogger, OnMetrics
from jaxssl.train.run_images import RunImages
from jaxssl.train.setup import Experiment
from jaxssl.workdir import results
from jaxssl.workdir.checkpoint import Checkpoints
from jaxssl.workdir.records import RunRecord
from jaxssl.workdir.sync import LocalWorkdir
from jaxssl.workdir.workdir import Workdir

SUMMARIZED = ("knn", "linear")  # evaluations whose results are logged at the end, beside the effective rank

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

  Returns the exit code: 0 done; 1 stopped, see `Stopped`; 75 or 130 saved on a signal. `arrays`: images of the calling program;
  `encoder`: its own flax module, for model.name=custom; `report`: called at the end if `evals.report` asks for one;
  `accept_changes`: resume although the training images, or fields that change what is learned, have changed;
  `on_metrics`: called with the values of every line of metrics.jsonl; if it raises an exception, the run is saved, and then
  ends with it.
  """
  began = time.monotonic()
  original = Workdir(workdir.absolute() if paths.is_local(workdir) else workdir)
  changes = ConfigChanges(original, absolute_paths(config), accept_changes)
  config, report = changes.config, report if config.evals.report else None
  with original.hold() if processes.is_primary() else contextlib.nullcontext(), LocalWorkdir(original) as local:
    log.start(local.log if processes.is_primary() else None, jax.process_index())
    check_names(config)
    loggers.check(config.log)
    images = RunImages(original, local, changes, accept_changes)
    run = Experiment(config, local.folder, arrays, encoder, images.check)
    config = run.config
    evaluator = Evaluator(config, run.mesh, run.datasets, run.train_step.network)
    changes.check_state(run, encoder)
    if run.imported is not None:
      init_from.keep(run.imported, local.folder)
    checkpoints = Checkpoints(local.checkpoints, config.train.max_to_keep)
    restored = images.restore(run, checkpoints)
    state, step = restored or (run.init(), 0)
    changes.record(local, run, step)
    local.upload()
    LOG.info("%s%s", summary_line(run), f"; resumes at step {step}" if restored else "")
    if config.train.accumulate > 1 and jax.tree.leaves(run.state_shapes.student.stats):
      rows = config.train.batch_size // config.train.accumulate
      LOG.info("train.accumulate=%d: the loss sees the whole batch, BatchNorm parts of %d rows", config.train.accumulate, rows)
    logger = MetricLogger(run, local, step, original.folder.name, began, on_metrics)
    with contextlib.closing(logger), contextlib.closing(checkpoints), Preemption() as stop:
      try:
        if not logger.has_baselines:
          with heartbeat(f"measuring raw pixels and the {evaluator.untrained} network"):
            logger.write(0, 0, evaluator.baselines(run.untrained() if step else state.student, config.evals.periodic))
          logger.raise_failure()
        state = epochs(run, state, checkpoints, logger, evaluator, stop)
      except Stopped as error:
        LOG.error("%s. Last good checkpoint: step %s in %s", error, checkpoints.latest(), original.checkpoints)
        if report:
          report(local, None)
        return 1
      logger.raise_failure()
    done = int(state.step)
    if done < run.training_length.steps:
      LOG.info("stopped by a signal and saved at step %d; rerun the same command to resume", done)
      return stop.code
    finalize(run, original, local, seconds=logger.seconds)
    if report:
      extractor = evaluator.chosen(state.student, state.teacher)
      about = {"network": extractor.network, "which": extractor.subject, "variables": extractor.variables, "step": done}
      report(local, LoadedRun(workdir=local, config=config, mesh=run.mesh, **about, open_evaluator=lambda: evaluator))
    return 0


def epochs(
  run: Experiment, state: TrainState, checkpoints: Checkpoints, logger: MetricLogger, evaluator: Evaluator, stop: Preemption
) -> TrainState:
  """Trains from `state` to the end of the run, or until a stop signal; the state that is returned has been saved."""
  config, evals, length = run.config.train, run.config.evals, run.training_length
  step = started_at = int(state.step)

  def save() -> None:
    logger.flush()  # a state whose loss is not finite is never saved
    checkpoints.save(step, state)

  with jax.transfer_guard("disallow"):
    for epoch in range(length.place(step)[0], length.epochs):
      _, first = length.place(step)
      if first == 0:
        state = run.start_epoch(state, epoch)
      batches = run.batches(state, epoch, first)
      asked_at = time.monotonic()
      for rows in batches:
        waited = time.monotonic() - asked_at
        with logger.waiting("compiling the training step" if step == started_at else ""):
          state, logs = run.step(state, rows)
        step += 1
        logger.push(step, logs, waited)
        if logger.failure:
          stop.request()
        stop_requested = stop.stop_requested(step)
        if stop_requested or (config.checkpoint_every_steps and step % config.checkpoint_every_steps == 0):
          save()
        if stop_requested:
          return state
        asked_at = time.monotonic()
      logger.flush()
      last = epoch + 1 == length.epochs
      with jax.transfer_guard("allow"):
        measured = evaluator.neighbor_bank(state)
        if last or (epoch + 1) % evals.every == 0:
          names = evals.final if last else evals.periodic
          extractor = evaluator.chosen(state.student, state.teacher)
          with heartbeat(f"measuring {', '.join(names)}"):
            measured += evaluator.measure(extractor, names)
          examples = neighbors.nearest_examples(extractor, state.neighbor_bank)
          logger.write_neighbors(step, epoch, extractor.datasets, examples)
        logger.write(step, epoch, measured)
        late = evaluator.possible([name for name in evals.final if name == "linear" and name not in evals.periodic])
        if last and late and evals.baselines:  # at the end, so that the first step need not wait for them
          with heartbeat(f"measuring linear of raw pixels and of the {evaluator.untrained} network"):
            results.add(logger.workdir.results, 0, evaluator.baselines(run.untrained(), late))
      if last or (epoch + 1) % config.checkpoint_every_epochs == 0:
        save()
      logger.workdir.upload()
      logger.progress.pause()
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
  results.add(local.results, length.steps, [], **facts)
  for final in RunRecord(local).finals():
    if final.value is not None and (final.evaluation in SUMMARIZED or final.metric == feature_stats.EFFECTIVE_RANK):
      baselines = ", ".join(f"{subject.replace('_', ' ')} {x:.2f}" for subject, x in final.baselines.items() if x is not None)
      LOG.info("%s %.2f%s", final.metric.name, final.value, f" ({baselines})" if baselines else "")
  if unreadable:
    LOG.info("%d images are unreadable; see %s", len(unreadable), original.unreadable)
  LOG.info("done in %.0f s; results: %s", seconds, original.folder)
