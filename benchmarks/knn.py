"""Exact nearest neighbors of 10,000 queries among 50,000 x 512: python -m benchmarks.knn.

The peer is PyTorch if it has a GPU, otherwise faiss-cpu's flat index (pip install faiss-cpu first).
"""

import importlib.util
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.table import Row, main, seconds
from jaxssl.evals import knn
from jaxssl.parallel.mesh import make_mesh

BANK, QUERIES, FEATURES, K = 50_000, 10_000, 512, 20


def rows() -> Iterator[Row]:
  """Compares the search with the peer's on the same unit features; raises AssertionError if their neighbors differ."""
  rng = np.random.default_rng(0)
  bank, queries = (rng.normal(size=(n, FEATURES)).astype(np.float32) for n in (BANK, QUERIES))
  bank, queries = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (bank, queries))
  mesh = make_mesh()
  name, search = peer(bank, queries)
  (cosines, ids), (their_cosines, their_ids) = knn.neighbors(mesh, bank, queries, K), search()
  differing = np.sort(ids, axis=1) != np.sort(their_ids, axis=1)
  assert np.abs(cosines - their_cosines).max() < 1e-5 and differing.mean() < 1e-4, f"the neighbors differ from those of {name}"
  times = [(seconds(lambda: knn.neighbors(mesh, bank, queries, K), rounds=1), seconds(search, rounds=1)) for _ in range(7)]
  ours, theirs = np.median(np.array(times), axis=0)
  yield Row(name=f"{QUERIES} queries, {BANK} x {FEATURES}", value=ours, unit="s", peer=name, peer_value=theirs)


def peer(bank: np.ndarray, queries: np.ndarray) -> tuple[str, Callable[[], tuple[np.ndarray, np.ndarray]]]:
  """Returns the name of the peer and its search function, which returns cosines and ids [q, K]."""
  if importlib.util.find_spec("torch"):
    import torch  # type: ignore[import-not-found]

    if torch.cuda.is_available():

      def products() -> tuple[np.ndarray, np.ndarray]:
        rows = torch.from_numpy(bank).cuda()
        results = [(block @ rows.T).topk(K) for block in torch.from_numpy(queries).cuda().split(1024)]
        values, ids = zip(*results, strict=True)
        return torch.cat(values).cpu().numpy(), torch.cat(ids).cpu().numpy()

      return "PyTorch, product and topk", products
  import faiss  # type: ignore[import-not-found]

  def flat() -> tuple[np.ndarray, np.ndarray]:
    index = faiss.IndexFlatIP(FEATURES)
    index.add(bank)
    return index.search(queries, K)

  return "faiss flat", flat


if __name__ == "__main__":
  main(rows)
