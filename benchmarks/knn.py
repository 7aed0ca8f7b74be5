"""Exact nearest neighbors, 10,000 queries against 50,000 x 512, beside faiss-cpu's flat index: python -m benchmarks.knn.

pip install faiss-cpu first.
"""

from collections.abc import Iterator

import faiss  # type: ignore[import-not-found]
import numpy as np

from benchmarks.table import Row, main, seconds
from jaxssl.evals import knn
from jaxssl.parallel.mesh import make_mesh

BANK, QUERIES, FEATURES, K = 50_000, 10_000, 512, 20


def rows() -> Iterator[Row]:
  """Both search the same unit features, and must find the same neighbors."""
  rng = np.random.default_rng(0)
  bank, queries = (rng.normal(size=(n, FEATURES)).astype(np.float32) for n in (BANK, QUERIES))
  bank, queries = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (bank, queries))
  mesh = make_mesh()

  def theirs() -> tuple[np.ndarray, np.ndarray]:
    index = faiss.IndexFlatIP(FEATURES)
    index.add(bank)
    return index.search(queries, K)

  (cosines, ids), (their_cosines, their_ids) = knn.neighbors(mesh, bank, queries, K), theirs()
  differing = np.sort(ids, axis=1) != np.sort(their_ids, axis=1)
  assert np.abs(cosines - their_cosines).max() < 1e-5 and differing.mean() < 1e-4, "other neighbors than faiss finds"
  times = [(seconds(lambda: knn.neighbors(mesh, bank, queries, K), rounds=1), seconds(theirs, rounds=1)) for _ in range(7)]
  ours, peer = np.median(np.array(times), axis=0)
  yield Row(name=f"{QUERIES} queries, {BANK} x {FEATURES}", value=ours, unit="s", peer="faiss flat", peer_value=peer)


if __name__ == "__main__":
  main(rows)
