"""Finds nearest neighbors among the reference images: agreement with classes, and examples for the report."""

import functools
from typing import Any

import numpy as np

from jaxssl.bootstrap.bank import NeighborBank
from jaxssl.bootstrap.partners import partners_of
from jaxssl.core.metric import Measurement, Metric
from jaxssl.core.rng import generator
from jaxssl.evals import knn
from jaxssl.evals.features import FeatureExtractor, evaluation, measurements
from jaxssl.parallel.mesh import padded_rows

K, EXAMPLES, NEAREST, PAIRS = 10, 12, 8, 12
LOOKED_UP = 2**16  # images whose partners are looked up to find pairs
_share = functools.partial(Metric, group="Features", unit="%")
ABOUT = "Share of the images that are among the nearest neighbors of no other image. Hubs raise it."
ORPHANS = _share("neighbors_orphans", "Images without reverse neighbors", ABOUT, higher_is_better=False)


@evaluation("neighbors")
def measure(extractor: FeatureExtractor) -> list[Measurement]:
  """Measures how the nearest neighbors of reference images agree with their class; without labels only `neighbors_orphans`."""
  reference = extractor.reference
  k = min(K, len(reference.x) - 1)
  _, ids = knn.neighbors(extractor.mesh, reference.x, reference.x, k, own=np.arange(len(reference.x)))
  values = {ORPHANS: 100 * (1 - len(np.unique(ids)) / len(reference.x))}
  if (reference.labels >= 0).all():
    same = reference.labels[ids] == reference.labels[:, None]
    about = "Share of the nearest training images that have the image's class."
    agreement = functools.partial(_share, description=about, higher_is_better=True)
    for i in range(min(2, k)):
      values[agreement(f"neighbors_top{i + 1}_label", f"Neighbor {i + 1} of the class")] = 100 * same[:, i].mean()
    values[agreement(f"neighbors_purity{k}", f"{k} nearest neighbors of the class")] = 100 * same.mean()
  return measurements(extractor, values, {"k": k, "similarity": "cosine", **reference.protocol})


def nearest_examples(extractor: FeatureExtractor, bank: NeighborBank | None) -> dict[str, Any]:
  """Returns, ready for JSON, the nearest neighbors by cosine of a few reference images, which the seed draws.

  `images` [q], `neighbors` [q, k] and `similarities` [q, k], nearest first, count in the reference set; `partners`: pairs of
  training images of which the second supplied the first one's second view in this epoch; None if bootstrapping is off.
  """
  x = extractor.reference.x
  drawn = generator(extractor.config.train.seed, "neighbors")
  images = np.sort(drawn.choice(len(x), min(EXAMPLES, len(x)), replace=False))
  k = min(NEAREST, len(x) - 1)
  similarities, ids = knn.neighbors(extractor.mesh, x, x[images], k, own=images)
  return {
    "images": images.tolist(),
    "neighbors": ids.tolist(),
    "similarities": similarities.astype(np.float64).round(4).tolist(),
    "partners": None if bank is None else _pairs(extractor, bank, drawn),
  }


def _pairs(extractor: FeatureExtractor, bank: NeighborBank, drawn: np.random.Generator) -> list[list[int]]:
  """Draws pairs of an image and its partner among the images, at most LOOKED_UP of them, that have another as partner."""
  count, mesh = len(extractor.datasets.train), extractor.mesh
  images = np.arange(count) if count <= LOOKED_UP else np.sort(drawn.choice(count, LOOKED_UP, replace=False))
  padded = np.resize(images, padded_rows(len(images), mesh)).astype(np.int32)
  partners = partners_of(mesh, bank.partners, padded[None])[0, : len(images)]
  moved = np.flatnonzero(partners != images)
  sample = np.sort(drawn.choice(moved, min(PAIRS, len(moved)), replace=False))
  return np.stack([images[sample], partners[sample]], axis=1).tolist()
