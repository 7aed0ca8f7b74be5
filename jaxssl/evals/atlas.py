"""A map of features: pictures that the network finds alike lie close together."""

import numpy as np

from jaxssl.evals.clusters import kmeans
from jaxssl.evals.quality import unit

WIDTH = 50  # dimensions that t-SNE is given
STEPS = 500
CLUSTERS = 10


def positions(features: np.ndarray, seed: int) -> np.ndarray:
  """Lays the directions of features [n, f] out in two dimensions, by t-SNE from their two principal axes: float [n, 2], 0..1."""
  from sklearn import manifold

  x = unit(features)
  axes, scale, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
  x = axes[:, :WIDTH] * scale[:WIDTH]
  if len(x) < 5 or scale[0] < 1e-6:  # too few for neighbourhoods, or all the same
    placed = np.pad(x, ((0, 0), (0, 2)))[:, :2]
  else:
    start = np.pad(x, ((0, 0), (0, 1)))[:, :2]
    start = (start / start[:, 0].std() * 1e-4).astype(np.float32)
    perplexity = min(30.0, (len(x) - 1) / 3)
    placed = manifold.TSNE(init=start, perplexity=perplexity, max_iter=STEPS, random_state=seed).fit_transform(x)
  low, high = placed.min(0), placed.max(0)
  return (placed - low) / np.maximum(high - low, 1e-9)


def groups(features: np.ndarray, seed: int) -> np.ndarray:
  """Finds CLUSTERS clusters of the directions of features [n, f] by k-means: int32 [n]."""
  return kmeans(unit(features), min(CLUSTERS, len(features)), seed)
