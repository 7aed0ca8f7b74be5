"""What evaluations of clusters and retrieval take, and may take: python -m benchmarks.clusters [--json FILE]."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.table import Row, main, seconds
from jaxssl import parallel
from jaxssl.evals import clusters, quality, retrieval

PICTURES, FEATURES, CLASSES, LIMIT = 50_000, 512, 10, 60.0
QUERIES = 10_000


def rows() -> Iterator[Row]:
  """Times each on features without structure, the slowest for k-means, and on features that tell the classes."""
  rng = np.random.default_rng(0)
  labels = rng.integers(0, CLASSES, PICTURES).astype(np.int32)
  noise = rng.normal(size=(PICTURES, FEATURES)).astype(np.float32)
  classes = noise + rng.normal(size=(CLASSES, FEATURES)).astype(np.float32)[labels]
  size = f"{PICTURES:,} x {FEATURES}"
  yield row(f"all figures of clusters, {size}, noise", lambda: clusters.figures(noise, labels, seed=0))
  yield row("the same, features that tell the classes", lambda: clusters.figures(classes, labels, seed=0))
  yield row("of which separation", lambda: clusters.separation(classes, labels, clusters.ROWS, 0))
  yield row("of which k-means, noise", lambda: clusters.kmeans(noise, CLASSES, 0))
  yield row(f"all figures without labels, {size}", lambda: quality.figures(noise))
  some, theirs, mesh = noise[:QUERIES], labels[:QUERIES], parallel.make_mesh()
  name = f"retrieval, {QUERIES:,} among themselves"
  yield row(name, lambda: retrieval.accuracy(mesh, some, theirs, None, None, (1, 5)))


def row(name: str, run: Callable[[], Any]) -> Row:
  return Row(name=name, value=seconds(run, rounds=1), unit="s", peer="limit", peer_value=LIMIT)


if __name__ == "__main__":
  main(rows)
