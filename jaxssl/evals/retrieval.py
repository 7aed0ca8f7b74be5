"""Retrieval by cosine similarity: whether the images most similar to an image are of its class."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxssl.core.types import Array
from jaxssl.evals.features import FeatureExtractor
from jaxssl.ops.nearest import dot, normalize
from jaxssl.parallel.mesh import REPLICATED, ROWS, padded_rows, replicate, to_host
from jaxssl.workdir.results import Measurement

QUERIES = 512  # at a time; for each, some numbers for every image of the bank are held


def measure(subject: FeatureExtractor) -> list[Measurement]:
  """Recall and mean average precision within the test split, or else the bank, each image by the others."""
  asked = subject.queries or subject.bank
  found = accuracy(subject.mesh, asked.x, asked.labels, None, None, subject.config.evals.retrieval_k)
  protocol = f"retrieval by cosine among {asked.says}, each by the others, of classes with another image, {subject.says}"
  return [Measurement(name=name, value=value, protocol=protocol) for name, value in found.items()]


@functools.partial(jax.jit, static_argnames="mesh")
def rankings(
  mesh: Mesh, bank: Array, bank_labels: Array, queries: Array, labels: Array, own: Array
) -> tuple[Array, Array, Array]:
  """Ranks the whole bank for each query.

  bank: float32 [n, f], unit rows; queries: float32 [b, f]; labels int32; own: int32 [b], the query's place in the bank, which
  is left out, or -1. Returns the average precision, float32 [b], 0 where no image is of the query's class; the place of the
  first that is, from 0; and how many are, int32 [b]. Each device ranks for its share of the queries.
  """

  def local(bank: Array, bank_labels: Array, queries: Array, labels: Array, own: Array) -> tuple[Array, Array, Array]:
    other = jnp.arange(len(bank))[None, :] != own[:, None]
    relevant = other & (bank_labels[None, :] == labels[:, None])
    # One sort of integers, a fifth of the time of sorting pairs: the cosine above the lowest bit, what is told by it below.
    cosine = (dot(normalize(queries), bank) * 2.0**29).astype(jnp.int32)
    keys = jnp.where(other, relevant - 2 * cosine, jnp.iinfo(jnp.int32).max - 1)
    hits = jnp.sort(keys, axis=1) & 1
    found = jnp.cumsum(hits, axis=1)
    precision = found / jnp.arange(1, len(bank) + 1)[None, :]
    total = found[:, -1]
    return jnp.sum(precision * hits, axis=1) / jnp.maximum(total, 1), jnp.argmax(hits, axis=1), total

  specs = (REPLICATED, REPLICATED, ROWS, ROWS, ROWS)
  return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=ROWS, check_vma=False)(
    bank, bank_labels, queries, labels, own
  )


def accuracy(
  mesh: Mesh,
  bank: np.ndarray,
  bank_labels: np.ndarray,
  queries: np.ndarray | None,
  labels: np.ndarray | None,
  ks: tuple[int, ...],
) -> dict[str, float]:
  """Recall of every k, `recall{k}_cosine`, and mean average precision over the full ranking, `map_cosine`, in percent.

  bank: float32 [n, f]; queries: float32 [m, f]; labels int32. Recall at k: one of the k most similar images is of the
  query's class. Without queries each bank row is ranked against the others, and names end in `_leave_one_out`. Among equally
  similar images those of other classes come first: collapsed features earn nothing. Queries whose class has no (other)
  image in the bank are left out of the means; `share_retrievable` is the share of the rest, in 0..1, the only figure
  where it is 0.
  """
  alone = queries is None
  queries, labels = (bank, bank_labels) if queries is None or labels is None else (queries, labels)
  on_devices = replicate(mesh, (normalize(jnp.asarray(bank)), jnp.asarray(bank_labels)))
  size = padded_rows(min(QUERIES, len(queries)), mesh)
  parts = []
  for start in range(0, len(queries), size):
    rows = np.arange(start, start + size)
    picked = np.minimum(rows, len(queries) - 1)
    own = picked if alone else np.full(size, -1)
    block = replicate(mesh, (queries[picked], labels[picked], own.astype(np.int32)))
    found = to_host(mesh, rankings(mesh, *on_devices, *block))
    parts.append([x[rows < len(queries)] for x in found])
  precision, first, total = (np.concatenate(x) for x in zip(*parts, strict=True))
  retrievable = total > 0
  share = {"share_retrievable": float(retrievable.mean())}
  if not retrievable.any():
    return share
  suffix = "_cosine" + "_leave_one_out" * alone
  recalls = {f"recall{k}{suffix}": 100.0 * float((first[retrievable] < k).mean()) for k in ks}
  return recalls | {f"map{suffix}": 100.0 * float(precision[retrievable].mean(dtype=np.float64))} | share
