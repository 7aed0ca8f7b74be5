"""Measures what a trained network is compared with: raw pixels, and the network before its first step, over several seeds."""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence

import jax
import jax.numpy as jnp

from jaxssl.core import LOG
from jaxssl.core.metric import Measurement
from jaxssl.core.types import Variables
from jaxssl.evals.evaluator import Evaluator
from jaxssl.evals.features import MANY, RANDOM
from jaxssl.workdir.results import protocol_key

ONCE = ("finetune", "lowshot")  # evaluations that may train networks, so that every further seed would take as long as a run


def seeds_of(evaluator: Evaluator, count: int) -> range:
  """Returns `count` seeds from `train.seed` on, for `measure`; of many images only that one."""
  first = evaluator.config.train.seed
  if len(evaluator.datasets.reference) <= MANY:
    return range(first, first + count)
  if count > 1:
    LOG.info("evals.baseline_seeds=%d: one seed is measured, since there are more than %d images", count, MANY)
  return range(first, first + 1)


def measure(
  evaluator: Evaluator, untrained: Callable[[int], Variables], names: Sequence[str], seeds: Sequence[int]
) -> list[Measurement]:
  """Measures raw pixels and the network before its first step by the evaluations that are possible.

  untrained: returns the network of a seed. Each value is the mean over the seeds. Raw pixels, and a network that is the same
  for all seeds, are measured once, except that random evaluations of raw pixels are repeated. Those in ONCE are not repeated.
  """
  measured = []
  if len(evaluator.datasets.reference) <= MANY:
    measured += _raw_pixels(evaluator, names, seeds)  # of more images they would take over 2.5 GB
  else:
    LOG.info("raw pixels are not measured: there are more than %d images", MANY)
  weights = untrained(seeds[0])
  networks = [evaluator.measure(evaluator.extractor(weights, evaluator.untrained), names)]
  repeated = [name for name in names if name not in ONCE]
  for seed in seeds[1:] if repeated else ():
    others = untrained(seed)
    if _same_encoder(weights, others):  # imported, or a module that comes with its weights
      break
    networks.append(evaluator.measure(evaluator.extractor(others, evaluator.untrained).with_seed(seed), repeated))
  return measured + over_seeds(networks)


def _raw_pixels(evaluator: Evaluator, names: Sequence[str], seeds: Sequence[int]) -> list[Measurement]:
  extractor, measured = evaluator.extractor(None, "raw_pixels"), []
  if evaluator.possible(names):
    _ = extractor.reference, extractor.test  # once for all names and seeds
  for name in names:
    repeated = seeds if name in RANDOM and name not in ONCE else seeds[:1]
    measured += over_seeds([evaluator.measure(extractor.with_seed(seed), [name]) for seed in repeated])
  return measured


def over_seeds(measured: Iterable[Sequence[Measurement]]) -> list[Measurement]:
  """Returns the mean and the sample standard deviation over seeds of each metric by each protocol; a single value as it is."""
  groups: dict[tuple[str, str], list[Measurement]] = {}
  for m in (m for of_seed in measured for m in of_seed):
    groups.setdefault((m.name, protocol_key(m.protocol)), []).append(m)
  return [_mean(group) if len(group) > 1 else group[0] for group in groups.values()]


def _mean(group: Sequence[Measurement]) -> Measurement:
  first, values = group[0], [m.value for m in group]
  finite = all(map(math.isfinite, values))
  chosen = first.chosen if all(m.chosen == first.chosen for m in group) else {}
  value, std = (statistics.mean(values), statistics.stdev(values)) if finite else (math.nan, None)
  about = {"metric": first.metric, "subject": first.subject, "protocol": first.protocol, "evaluation": first.evaluation}
  return Measurement(value=value, std=std, seeds=len(values), chosen=chosen, **about)


def _same_encoder(first: Variables, second: Variables) -> bool:
  """Returns whether two networks compute the same features."""
  encoders = ([tree.get("encoder", {}) for tree in (variables.params, variables.stats)] for variables in (first, second))
  return bool(jax.tree.all(jax.tree.map(jnp.array_equal, *encoders)))
