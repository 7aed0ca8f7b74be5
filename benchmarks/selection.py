"""How well numbers without labels choose between runs: rank correlation with accuracy, and the better of two runs."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


class Choice(NamedTuple):
  """How a number agrees with the accuracy over some runs."""

  correlation: float  # Spearman's
  better: float  # share of pairs of runs of which the one with the higher number is more accurate; equal numbers: half
  pairs: int


def choice(numbers: Sequence[float], accuracies: Sequence[float]) -> Choice:
  """Compares numbers of runs, higher meaning better, with their accuracies; pairs of equal accuracy are left out."""
  pairs = [
    0.5 if a == b else float((a > b) == (x > y))
    for (a, x), (b, y) in itertools.combinations(zip(numbers, accuracies, strict=True), 2)
    if x != y
  ]
  correlation = float(np.corrcoef(stats.rankdata(numbers), stats.rankdata(accuracies))[0, 1])
  return Choice(correlation, sum(pairs) / len(pairs) if pairs else 0.5, len(pairs))


def sign_test(differences: Sequence[float]) -> float:
  """Returns the two-sided p-value of the signs, if both were equally likely; zeros are left out."""
  signs = [x > 0 for x in differences if x]
  return float(stats.binomtest(sum(signs), len(signs)).pvalue) if signs else 1.0
