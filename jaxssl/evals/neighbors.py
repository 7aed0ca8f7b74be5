"""How good neighbors are: what the neighbor memory says at an epoch's end (AdaSim's own figures), and of any network."""

from typing import Any

import numpy as np

from jaxssl.bootstrap.bank import NeighborBank
from jaxssl.core.rng import generator
from jaxssl.evals import knn
from jaxssl.evals.features import FeatureExtractor
from jaxssl.parallel.mesh import to_host
from jaxssl.workdir.results import Measurement

K = 10


def measure(subject: FeatureExtractor) -> list[Measurement]:
  """Of the bank's images among the others: how their nearest neighbors agree with their class, and who is nobody's.

  Without labels `neighbors_orphans` only: the share of images that are among nobody's nearest; hubs, which are near to
  everyone, raise it.
  """
  bank = subject.bank
  k = min(K, len(bank.x) - 1)
  _, ids = knn.neighbors(subject.mesh, bank.x, None, k)
  values = {"neighbors_orphans": 100 * (1 - len(np.unique(ids)) / len(bank.x))}
  if (bank.labels >= 0).all():
    same = bank.labels[ids] == bank.labels[:, None]
    values |= {f"neighbors_top{i + 1}_label": 100 * same[:, i].mean() for i in range(min(2, k))}
    values[f"neighbors_purity{k}"] = 100 * same.mean()
  protocol = f"the {k} nearest by cosine of each of {bank.says} among the others, percent, {subject.says}"
  return [Measurement(name=name, value=float(value), protocol=protocol) for name, value in values.items()]


EXAMPLES, NEAREST, PAIRS = 12, 8, 12


def nearest_examples(subject: FeatureExtractor, memory: NeighborBank | None) -> dict[str, Any]:
  """Gives, ready for JSON, of fixed images of the bank, drawn by the seed, the nearest others by cosine.

  `images` [q], `neighbors` [q, k] and `similarities` [q, k], nearest first, count in the bank; `partners`, pairs of images
  in which the second gave the first one's other view in this epoch, in the training split. None: bootstrapping is off.
  """
  x = subject.features(subject.splits.reference)
  drawn = generator(subject.config.train.seed, "neighbors")
  images = np.sort(drawn.choice(len(x), min(EXAMPLES, len(x)), replace=False))
  k = min(NEAREST, len(x) - 1)
  similarities, ids = knn.neighbors(subject.mesh, x, x[images], k + 1)
  others = np.argsort(ids == images[:, None], axis=1, kind="stable")[:, :k]  # an image is no neighbor of its own
  similarities, ids = (np.take_along_axis(found, others, 1) for found in (similarities, ids))
  pairs = None
  if memory is not None:
    partners = to_host(subject.mesh, memory.partners)[: len(subject.splits.train)]
    moved = np.flatnonzero(partners != np.arange(len(partners)))
    shown = np.sort(drawn.choice(moved, min(PAIRS, len(moved)), replace=False))
    pairs = np.stack([shown, partners[shown]], axis=1).tolist()
  return {
    "images": images.tolist(),
    "neighbors": ids.tolist(),
    "similarities": similarities.astype(np.float64).round(4).tolist(),
    "partners": pairs,
  }
