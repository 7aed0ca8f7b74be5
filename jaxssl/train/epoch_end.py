"""What is measured after an epoch: the network, the neighbor bank, and once the baselines."""

import contextlib
from collections.abc import Iterator

import jax

from jaxssl.core import heartbeat
from jaxssl.core.types import TrainState
from jaxssl.evals import neighbors
from jaxssl.evals.evaluator import Evaluator
from jaxssl.parallel.preemption import Preemption
from jaxssl.train.metrics import MetricLogger
from jaxssl.train.setup import Experiment
from jaxssl.workdir import results

CUT_SHORT = "stopping; what is being measured will be measured when the run resumes"


class EpochEnd:
  """Measures a run after its epochs. Nothing of an epoch counts as measured until all of it is: see `MetricLogger.write`."""

  def __init__(self, run: Experiment, evaluator: Evaluator, logger: MetricLogger, stop: Preemption):
    self._run, self._evaluator, self._logger, self._stop = run, evaluator, logger, stop

  def measure(self, state: TrainState, step: int, epoch: int) -> None:
    """Measures the state after `epoch`, which ended with `step`, and writes that. Raises StopRequested if a signal comes."""
    run, evals, evaluator, logger = self._run, self._run.config.evals, self._evaluator, self._logger
    last = epoch + 1 == run.training_length.epochs
    names = evals.final if last else evals.periodic
    if evals.baselines and not logger.has_baselines:  # after an epoch, so that the first step need not wait for them
      with self._measuring(f"raw pixels and the {evaluator.untrained} network"):
        baselines = evaluator.baselines(run.untrained(), evals.periodic)
      logger.write(0, 0, baselines)
    measured, examples = [], None
    evaluated = last or (epoch + 1) % evals.every == 0
    with self._measuring(", ".join(names) if evaluated and names else "neighbors"):
      measured += evaluator.neighbor_bank(state)
      if evaluated:
        extractor = evaluator.chosen(state.student, state.teacher)
        measured += evaluator.measure(extractor, names)
        examples = neighbors.nearest_examples(extractor, state.neighbor_bank)
    late = evaluator.possible([name for name in evals.final if name == "linear" and name not in evals.periodic])
    if last and late and evals.baselines:
      with self._measuring(f"linear of raw pixels and of the {evaluator.untrained} network"):
        baselines = evaluator.baselines(run.untrained(), late)
      results.add(logger.workdir.results, 0, baselines)
    if examples is not None:
      logger.write_neighbors(step, epoch, extractor.datasets, examples)
    logger.write(step, epoch, measured)

  @contextlib.contextmanager
  def _measuring(self, what: str) -> Iterator[None]:
    with jax.transfer_guard("allow"), self._stop.interruptible(CUT_SHORT), heartbeat(f"measuring {what}"):
      yield
