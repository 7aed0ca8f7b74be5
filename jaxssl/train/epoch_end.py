"""What is measured after an epoch: the network, the neighbor bank, and after the first and the last epoch the baselines."""

import contextlib
import time
from collections.abc import Iterator, Sequence

import jax

from jaxssl.core import LOG, heartbeat
from jaxssl.core.log import SECONDS_BETWEEN_LINES, duration
from jaxssl.core.metric import Measurement
from jaxssl.core.types import TrainState
from jaxssl.evals import baselines, neighbors
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
      logger.write(0, 0, self._baselines(evals.periodic, baselines.seeds_of(evaluator, 1)))
    began = time.monotonic()
    measured, examples = [], None
    evaluated = last or (epoch + 1) % evals.every == 0
    with self._measuring(", ".join(names) if evaluated and names else "neighbors"):
      measured += evaluator.neighbor_bank(state)
      if evaluated:
        extractor = evaluator.chosen(state.student, state.teacher)
        measured += evaluator.measure(extractor, names)
        examples = neighbors.nearest_examples(extractor, state.neighbor_bank)
    if evals.baselines and last:
      seeds = baselines.seeds_of(evaluator, evals.baseline_seeds)
      if (seconds := len(seeds) * (time.monotonic() - began)) > SECONDS_BETWEEN_LINES:
        LOG.info("raw pixels and the %s network are measured for about %s", evaluator.untrained, duration(seconds))
      results.add(logger.workdir.results, 0, self._baselines(evals.final, seeds))
    if examples is not None:
      logger.write_neighbors(step, epoch, extractor.datasets, examples)
    logger.write(step, epoch, measured)

  def _baselines(self, names: Sequence[str], seeds: range) -> list[Measurement]:
    what = f"raw pixels and the {self._evaluator.untrained} network"
    with self._measuring(what if len(seeds) == 1 else f"{what} with {len(seeds)} seeds (evals.baseline_seeds)"):
      return baselines.measure(self._evaluator, self._run.untrained, names, seeds)

  @contextlib.contextmanager
  def _measuring(self, what: str) -> Iterator[None]:
    with jax.transfer_guard("allow"), self._stop.interruptible(CUT_SHORT), heartbeat(f"measuring {what}"):
      yield
