"""What a network finds alike, to be looked at: the nearest pictures of a few fixed ones, and who is bootstrapped to whom."""

from typing import Any

import numpy as np

from jaxssl.data.plan import generator
from jaxssl.evals import knn
from jaxssl.evals.base import Subject
from jaxssl.memory import Neighbors
from jaxssl.parallel import fetch

PICTURES, NEAREST, PAIRS = 12, 8, 12


def look(subject: Subject, memory: Neighbors | None) -> dict[str, Any]:
  """Gives, ready for JSON, of fixed pictures of the bank, drawn by the seed, the nearest others by cosine.

  `pictures` [q], `neighbors` [q, k] and `similarities` [q, k], nearest first, count in the bank; `partners`, pairs of pictures
  in which the second gave the first one's other view in this epoch, in the training split. None: bootstrapping is off.
  """
  x = subject.features(subject.splits.bank)
  drawn = generator(subject.config.train.seed, -2)
  pictures = np.sort(drawn.choice(len(x), min(PICTURES, len(x)), replace=False))
  k = min(NEAREST, len(x) - 1)
  similarities, ids = knn.neighbors(subject.mesh, x, x[pictures], k + 1)
  others = np.argsort(ids == pictures[:, None], axis=1, kind="stable")[:, :k]  # a picture is no neighbour of its own
  similarities, ids = (np.take_along_axis(found, others, 1) for found in (similarities, ids))
  pairs = None
  if memory is not None:
    partners = fetch(subject.mesh, memory.partners)[: len(subject.splits.train)]
    moved = np.flatnonzero(partners != np.arange(len(partners)))
    shown = np.sort(drawn.choice(moved, min(PAIRS, len(moved)), replace=False))
    pairs = np.stack([shown, partners[shown]], axis=1).tolist()
  return {
    "pictures": pictures.tolist(),
    "neighbors": ids.tolist(),
    "similarities": similarities.astype(np.float64).round(4).tolist(),
    "partners": pairs,
  }
