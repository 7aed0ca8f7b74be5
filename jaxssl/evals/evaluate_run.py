"""Evaluates a finished or running run, on its own images or on others, and adds to its results.json."""

from collections.abc import Sequence

from jaxssl.core import LOG, heartbeat
from jaxssl.evals import baselines, kept_classifier
from jaxssl.evals.load_run import LoadedRun
from jaxssl.parallel import processes
from jaxssl.workdir import results
from jaxssl.workdir.records import RunRecord


def evaluate_run(run: LoadedRun, names: Sequence[str], keep: bool = False) -> dict[str, float]:
  """Measures the network of a run by the evaluations `names`; returns the values by name.

  On other images than those of the run, the untrained network and raw pixels are measured, too, unless `evals.baselines` is
  false, and all results are stored under a name of these images. keep: keeps the classifiers that the evaluations fit. Raises
  UserError for evaluations that are not possible.
  """
  evaluator, path, values = run.evaluator, run.workdir.results, {}
  evaluator.require(names)
  measure = kept_classifier.keeping(run) if keep else evaluator.measure
  dataset = _dataset(run)
  for name in names:
    with heartbeat(f"evaluating {name}"):
      measured = measure(run.extractor, [name])
    if processes.is_primary():
      results.add(path, run.step, measured, dataset=dataset)
    for m in measured:
      LOG.info("%-32s %9.3f%s", m.name, m.value, "" if m.std is None else f" ± {m.std:.3f}")
    values |= {m.name: m.value for m in measured}
  if dataset and run.config.evals.baselines:
    _add_baselines(run, names, dataset)
  where = f", on other images: {dataset}" if dataset else ""
  LOG.info("step %d, %s network%s; protocols are in %s", run.step, run.which, where, path)
  return values


def _dataset(run: LoadedRun) -> str:
  """Returns the name of the images if they are not those of the run, else an empty text."""
  other = run.evaluator.datasets.other
  if other is None:
    return ""
  return results.name_dataset(run.workdir.results, *other) if processes.is_primary() else other.name


def _add_baselines(run: LoadedRun, names: Sequence[str], dataset: str) -> None:
  """Measures the untrained network of the run's seed and raw pixels, and logs them beside the network."""
  with heartbeat(f"measuring raw pixels and the {run.evaluator.untrained} network"):
    measured = baselines.measure(run.evaluator, lambda seed: run.initial, names, [run.config.train.seed])
  if not processes.is_primary():
    return
  results.add(run.workdir.results, 0, measured, dataset=dataset)
  shown = {m.name for m in measured}
  for final in RunRecord(run.workdir).finals(dataset):
    if final.name in shown and final.baselines:
      LOG.info("on %s: %s", dataset, final)
