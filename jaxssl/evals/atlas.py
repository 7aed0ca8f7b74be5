"""A map of features: pictures that the network finds alike lie close together."""

from typing import Any

import numpy as np

from jaxssl.evals.clusters import kmeans
from jaxssl.evals.quality import unit

WIDTH = 50  # dimensions that t-SNE is given
STEPS = 500
CLUSTERS = 10


def positions(features: np.ndarray, seed: int) -> np.ndarray:
  """Lays the directions of features [n, f] out in two dimensions, by t-SNE from their principal axes: float [n, 2] in 0..1."""
  import threadpoolctl
  from sklearn import manifold

  x = unit(features)
  x = x - x.mean(0)
  x = x @ np.linalg.eigh(x.T @ x)[1][:, ::-1][:, :WIDTH]  # along the principal axes, the strongest first
  axes = np.pad(x, ((0, 0), (0, 1)))[:, :2]
  if len(x) < 5 or axes[:, 0].std() < 1e-6:  # too few for neighbourhoods, or all the same
    placed = axes
  else:
    start: Any = (axes / axes[:, 0].std() * 1e-4).astype(np.float32)
    perplexity = min(30.0, (len(x) - 1) / 3)
    with threadpoolctl.threadpool_limits(1):  # its threads wait busily: six times slower where the cores have other work
      placed = manifold.TSNE(init=start, perplexity=perplexity, max_iter=STEPS, random_state=seed).fit_transform(x)
  low, high = placed.min(0), placed.max(0)
  return (placed - low) / np.maximum(high - low, 1e-9)


def groups(features: np.ndarray, seed: int) -> np.ndarray:
  """Finds CLUSTERS clusters of the directions of features [n, f] by k-means: int32 [n]."""
  return kmeans(unit(features), min(CLUSTERS, len(features)), seed)
