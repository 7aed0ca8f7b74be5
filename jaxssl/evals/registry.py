"""Registers evaluations. An evaluation is a function that declares its metrics and its needs."""

from collections.abc import Callable

from jaxssl.core.metric import Measurement
from jaxssl.core.registry import Registry
from jaxssl.evals.features import FeatureExtractor

Measure = Callable[[FeatureExtractor], list[Measurement]]
LABELS, TEST_SET = "labels", "a test set (data.test_path)"
EVALUATIONS: Registry[Measure] = Registry("evaluation")
NEEDS: dict[str, set[str]] = {}  # of LABELS and TEST_SET; without them a run skips the evaluation


def evaluation(name: str, *, labels: bool = False, test_set: bool = False) -> Callable[[Measure], Measure]:
  """Returns a decorator that registers an evaluation for `evals.periodic`, `evals.final` and `jaxssl evaluate`."""

  def add(measure: Measure) -> Measure:
    EVALUATIONS.register(name)(measure)  # first, since it may refuse the name
    NEEDS[name] = {need for need, needed in ((LABELS, labels), (TEST_SET, test_set)) if needed}
    return measure

  return add
