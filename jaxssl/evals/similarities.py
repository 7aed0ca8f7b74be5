"""How alike features of the same picture are, and of different ones: what a network holds together and keeps apart."""

import numpy as np

from jaxssl.evals.base import Subject
from jaxssl.evals.quality import unit
from jaxssl.evals.tuning import two_crops
from jaxssl.splits import Split


def samples(subject: Subject, some: Split, rows: np.ndarray) -> dict[str, np.ndarray]:
  """Gives cosines: of two crops of each picture of the bank in `rows` int [m], and of all pairs of a small split's pictures.

  The pairs are "same class" and "different class", where there are labels, or else "two pictures". Empty groups are left out.
  """
  one, other = two_crops(subject, rows)
  found = {"two crops of one picture": (unit(one) * unit(other)).sum(1)}
  x, labels = unit(subject.features(some)), some.source.labels
  above = np.triu_indices(len(x), 1)
  cosines = (x @ x.T)[above]
  if labels is None:
    found["two pictures"] = cosines
  else:
    same, known = (labels[above[0]] == labels[above[1]]), (labels[above[0]] >= 0) & (labels[above[1]] >= 0)
    found |= {"same class": cosines[same & known], "different class": cosines[~same & known]}
  return {name: values for name, values in found.items() if len(values)}


def probability_above(higher: np.ndarray, lower: np.ndarray) -> float:
  """Gives how often a value of `higher` exceeds one of `lower`, in 0..1; equal values count half."""
  ordered = np.sort(lower)
  below, up_to = (np.searchsorted(ordered, higher, side=side) for side in ("left", "right"))
  return float((below + up_to).mean() / (2 * len(lower)))
