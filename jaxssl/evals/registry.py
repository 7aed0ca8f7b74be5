"""Registration of evaluations: one function in one file, which declares the metrics it measures and what it needs."""

import dataclasses
from collections.abc import Callable

from jaxssl.core.metric import Measurement
from jaxssl.core.registry import Registry
from jaxssl.evals.features import FeatureExtractor

Measure = Callable[[FeatureExtractor], list[Measurement]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Needs:
  """What an evaluation requires of the datasets; without it a run skips the evaluation."""

  labels: bool = False
  test_set: bool = False


EVALUATIONS: Registry[Measure] = Registry("evaluation")
NEEDS: dict[str, Needs] = {}


def evaluation(name: str, *, labels: bool = False, test_set: bool = False) -> Callable[[Measure], Measure]:
  """Returns a decorator that registers an evaluation for `evals.periodic`, `evals.final` and `jaxssl evaluate`."""

  def add(measure: Measure) -> Measure:
    EVALUATIONS.register(name)(measure)  # first, since it may refuse the name
    NEEDS[name] = Needs(labels=labels, test_set=test_set)
    return measure

  return add
