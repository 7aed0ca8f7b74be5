"""Seconds for the clustering, feature and retrieval evaluations: python -m benchmarks.clusters [--json FILE]."""

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.results import Row, Target
from benchmarks.table import Case, main, seconds
from jaxssl.evals import clustering, feature_stats, retrieval
from jaxssl.parallel.mesh import make_mesh

IMAGES, FEATURES, CLASSES, LIMIT = 50_000, 512, 10, 60
QUERIES = 10_000
TARGETS = [Target(key="*", number=LIMIT, unit="s", source="a minute each")]


def cases(_: argparse.Namespace) -> Iterator[Case]:
  """Times each evaluation on noise, the slowest input for k-means, and on features that separate the classes."""
  rng = np.random.default_rng(0)
  labels = rng.integers(0, CLASSES, IMAGES).astype(np.int32)
  noise = rng.normal(size=(IMAGES, FEATURES)).astype(np.float32)
  classes = noise + rng.normal(size=(CLASSES, FEATURES)).astype(np.float32)[labels]
  size = f"{IMAGES:,} x {FEATURES}"
  yield case(f"all figures of clusters, {size}, noise", 30, lambda: clustering.figures(noise, labels, seed=0))
  yield case("the same, features that separate the classes", 30, lambda: clustering.figures(classes, labels, seed=0))
  yield case("of which separation", 20, lambda: clustering.separation(classes, labels, clustering.ROWS, 0))
  yield case("of which k-means, noise", 20, lambda: clustering.kmeans(noise, CLASSES, 0))
  yield case(f"all figures without labels, {size}", 15, lambda: feature_stats.figures(noise))
  queries, query_labels, mesh = noise[:QUERIES], labels[:QUERIES], make_mesh()
  key = f"retrieval, {QUERIES:,} among themselves"
  yield case(key, 20, lambda: retrieval.accuracy(mesh, queries, query_labels, (1, 5)))


def case(key: str, expected: float, run: Callable[[], Any]) -> Case:
  def finished() -> None:
    run()  # its numbers are not returned, since JAX would wait for them, and cannot sort metrics as the keys of a dictionary

  return Case(key=key, run=lambda: [Row(key=key, value=seconds(finished, rounds=1), unit="s")], cpu=expected, gpu=expected)


if __name__ == "__main__":
  main("clusters", cases, TARGETS)
