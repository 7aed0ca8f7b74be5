"""Weighted cosine k-NN: how well the nearest training pictures tell a picture's class (DINO's protocol)."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxssl import memory
from jaxssl.ops.similarity import normalize
from jaxssl.parallel import everywhere, global_rows, padded_rows
from jaxssl.types import Array, UserError

QUERIES = 1024  # at a time
CHUNK = 16384  # bank rows compared at a time on each device


def class_scores(similarities: Array, labels: Array, num_classes: int, temperature: float) -> Array:
  """Sums exp(similarity / temperature) of the neighbours of each class.

  similarities: float32 [b, k]; labels: int32 [b, k]. Returns float32 [b, num_classes].
  """
  weights = jnp.exp(similarities / temperature)
  return jnp.einsum("bk,bkc->bc", weights, jax.nn.one_hot(labels, num_classes), precision=jax.lax.Precision.HIGHEST)


@functools.partial(jax.jit, static_argnames=("mesh", "k"))
def neighbors(mesh: Mesh, bank: Array, usable: Array, queries: Array, k: int) -> tuple[Array, Array]:
  """Finds the k most similar bank rows of each query; both need not be normalised. See memory.search."""
  return memory.search(mesh, bank, usable, normalize(queries), k, CHUNK)


def accuracy(
  mesh: Mesh,
  bank: np.ndarray,
  bank_labels: np.ndarray,
  queries: np.ndarray | None,
  labels: np.ndarray | None,
  ks: tuple[int, ...],
  temperature: float,
  groups: Mapping[str, np.ndarray] | None = None,
) -> dict[str, float]:
  """Top-1 accuracy in percent of every k, named `knn{k}_cosine`.

  bank: float32 [n, f]; queries: float32 [m, f]; labels int32. Without queries each bank row is classified by the others, and
  the name ends in `_leave_one_out`. `groups`: classes whose accuracies are averaged besides, under the name with `_{group}`
  after it; classes without queries do not count. Raises UserError when k exceeds the bank.
  """
  alone = queries is None
  queries, labels = (bank, bank_labels) if queries is None or labels is None else (queries, labels)
  k_max = max(ks)
  if k_max > len(bank) - alone:
    raise UserError(f"evals.knn.k={k_max} is not allowed; the training split has {len(bank)} pictures")
  num_classes = int(max(bank_labels.max(), labels.max())) + 1
  rows = padded_rows(len(bank), mesh)
  padded = np.zeros((rows, bank.shape[1]), np.float32)
  padded[: len(bank)] = np.asarray(normalize(jnp.asarray(bank)))
  on_devices = global_rows(mesh, (padded, np.arange(rows) < len(bank)))
  right = {k: np.empty(len(queries), bool) for k in ks}
  for start in range(0, len(queries), QUERIES):
    block = np.zeros((QUERIES, bank.shape[1]), np.float32)
    part = queries[start : start + QUERIES]
    block[: len(part)] = part
    similarities, ids = (
      np.asarray(x)[: len(part)] for x in neighbors(mesh, *on_devices, everywhere(mesh, block), k_max + alone)
    )
    if alone:  # a picture is no neighbour of its own
      other = ids != np.arange(start, start + len(part))[:, None]
      order = np.argsort(~other, axis=1, kind="stable")[:, :k_max]
      similarities, ids = np.take_along_axis(similarities, order, 1), np.take_along_axis(ids, order, 1)
    for k in ks:
      scores = class_scores(jnp.asarray(similarities[:, :k]), jnp.asarray(bank_labels[ids[:, :k]]), num_classes, temperature)
      right[k][start : start + len(part)] = np.asarray(scores).argmax(1) == labels[start : start + len(part)]
  found = {}
  for k, hits in right.items():
    name = f"knn{k}_cosine" + "_leave_one_out" * alone
    found[name] = 100.0 * float(hits.mean())
    for group, classes in (groups or {}).items():
      of_class = [hits[labels == c].mean() for c in classes if (labels == c).any()]
      found |= {f"{name}_{group}": 100.0 * float(np.mean(of_class))} if of_class else {}
  return found
