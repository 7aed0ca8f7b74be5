"""Exact nearest neighbors of 10,000 queries among 50,000 x 512: python -m benchmarks.knn.

The peer is PyTorch if it has a GPU, otherwise faiss-cpu's flat index (pip install faiss-cpu first).
"""

import argparse
import importlib.util
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.results import Row, Target, Unavailable
from benchmarks.table import Case, alternate, main
from jaxssl.evals import knn
from jaxssl.parallel.mesh import make_mesh

BANK, QUERIES, FEATURES, K = 50_000, 10_000, 512, 20
KEY = f"{QUERIES:,} queries, {BANK:,} x {FEATURES}"
TARGETS = [Target(key=f"{KEY}, beside faiss flat", number=1.1, source="faiss-cpu's exact index in the same run")]


def cases(_: argparse.Namespace) -> Iterator[Case]:
  """Compares the exact search with that of a peer."""
  yield Case(key=KEY, run=rows, cpu=70, gpu=40)


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
  times = alternate({"ours": lambda: knn.neighbors(mesh, bank, queries, K), "theirs": search}, rounds=7)
  yield Row(key=f"{KEY}, beside {name}", value=times["ours"], unit="s", peer=name, peer_value=times["theirs"])


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
  if not importlib.util.find_spec("faiss"):
    raise Unavailable("faiss is not installed (pip install faiss-cpu), and PyTorch has no GPU")
  import faiss  # type: ignore[import-not-found]

  def flat() -> tuple[np.ndarray, np.ndarray]:
    index = faiss.IndexFlatIP(FEATURES)
    index.add(bank)
    return index.search(queries, K)

  return "faiss flat", flat


if __name__ == "__main__":
  main("knn", cases, TARGETS)
