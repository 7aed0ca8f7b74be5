"""Seconds for the clustering, feature and retrieval evaluations: python -m benchmarks.clusters [--json FILE]."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.table import Row, main, seconds
from jaxssl.evals import clustering, feature_stats, retrieval
from jaxssl.parallel.mesh import make_mesh

IMAGES, FEATURES, CLASSES, LIMIT = 50_000, 512, 10, 60.0
QUERIES = 10_000


def rows() -> Iterator[Row]:
  """Times each evaluation on noise, the slowest input for k-means, and on features that separate the classes."""
  rng = np.random.default_rng(0)
  labels = rng.integers(0, CLASSES, IMAGES).astype(np.int32)
  noise = rng.normal(size=(IMAGES, FEATURES)).astype(np.float32)
  classes = noise + rng.normal(size=(CLASSES, FEATURES)).astype(np.float32)[labels]
  size = f"{IMAGES:,} x {FEATURES}"
  yield row(f"all figures of clusters, {size}, noise", lambda: clustering.figures(noise, labels, seed=0))
  yield row("the same, features that separate the classes", lambda: clustering.figures(classes, labels, seed=0))
  yield row("of which separation", lambda: clustering.separation(classes, labels, clustering.ROWS, 0))
  yield row("of which k-means, noise", lambda: clustering.kmeans(noise, CLASSES, 0))
  yield row(f"all figures without labels, {size}", lambda: feature_stats.figures(noise))
  queries, query_labels, mesh = noise[:QUERIES], labels[:QUERIES], make_mesh()
  name = f"retrieval, {QUERIES:,} among themselves"
  yield row(name, lambda: retrieval.accuracy(mesh, queries, query_labels, (1, 5)))


def row(name: str, run: Callable[[], Any]) -> Row:
  return Row(name=name, value=seconds(run, rounds=1), unit="s", peer="limit", peer_value=LIMIT)


if __name__ == "__main__":
  main(rows)
