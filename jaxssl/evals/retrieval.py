"""Retrieval by cosine similarity: recall and mean average precision of images of the same class."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxssl.core.metric import Measurement, Metric, accuracy_metric
from jaxssl.core.types import Array
from jaxssl.evals.features import FeatureExtractor
from jaxssl.evals.registry import evaluation
from jaxssl.ops.nearest import dot, normalize
from jaxssl.parallel.mesh import REPLICATED, ROWS, padded_rows, replicate, to_host

QUERIES = 512  # at a time; each needs a few numbers for every image of the reference set


def metric(name: str, title: str) -> Metric:
  """Returns a metric of retrieval."""
  return accuracy_metric(name, title, "How well an image finds the others of its class.")


SHARE = Metric(
  "share_retrievable", "Retrievable", "Share of the images whose class has another image; only these are measured.", "Accuracy"
)


@evaluation("retrieval", labels=True)
def measure(extractor: FeatureExtractor) -> list[Measurement]:
  """Measures recall and mean average precision within the test set or, without one, the reference set; leave one out."""
  queries = extractor.test or extractor.reference
  values = accuracy(extractor.mesh, queries.x, queries.labels, None, None, extractor.config.evals.retrieval_k)
  protocol = {"similarity": "cosine", **queries.protocol}
  return [
    Measurement(metric=metric, value=value, subject=extractor.subject, protocol=protocol) for metric, value in values.items()
  ]


@functools.partial(jax.jit, static_argnames="mesh")
def rankings(
  mesh: Mesh, reference: Array, reference_labels: Array, queries: Array, labels: Array, own: Array
) -> tuple[Array, Array, Array]:
  """Ranks the whole reference set for each query.

  reference: float32 [n, f], unit rows; queries: float32 [b, f]; labels int32; own: int32 [b], the query's row in the
  reference, which is left out, or -1. Returns the average precision, float32 [b], 0 if no image is of the query's class; the
  rank of the first that is, from 0; and their number, int32 [b]. Each device ranks for its share of the queries.
  """

  def local(reference: Array, reference_labels: Array, queries: Array, labels: Array, own: Array) -> tuple[Array, Array, Array]:
    other = jnp.arange(len(reference))[None, :] != own[:, None]
    relevant = other & (reference_labels[None, :] == labels[:, None])
    # One sort of integers takes a fifth of the time of sorting pairs: the cosine, and relevance in the lowest bit.
    cosine = (dot(normalize(queries), reference) * 2.0**29).astype(jnp.int32)
    keys = jnp.where(other, relevant - 2 * cosine, jnp.iinfo(jnp.int32).max - 1)
    hits = jnp.sort(keys, axis=1) & 1
    found = jnp.cumsum(hits, axis=1)
    precision = found / jnp.arange(1, len(reference) + 1)[None, :]
    total = found[:, -1]
    return jnp.sum(precision * hits, axis=1) / jnp.maximum(total, 1), jnp.argmax(hits, axis=1), total

  specs = (REPLICATED, REPLICATED, ROWS, ROWS, ROWS)
  return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=ROWS, check_vma=False)(
    reference, reference_labels, queries, labels, own
  )


def accuracy(
  mesh: Mesh,
  reference: np.ndarray,
  reference_labels: np.ndarray,
  queries: np.ndarray | None,
  labels: np.ndarray | None,
  ks: tuple[int, ...],
) -> dict[Metric, float]:
  """Computes recall of every k, `recall{k}_cosine`, and mean average precision over the full ranking, `map_cosine`.

  reference: float32 [n, f]; queries: float32 [m, f]; labels int32. Recall at k: one of the k most similar images is of the
  query's class. Without queries each reference row is ranked against the others, and names end in `_leave_one_out`. Among
  equally similar images those of other classes come first: collapsed features gain nothing. Queries whose class has no
  (other) image in the reference are left out of the means; `share_retrievable`, in 0..1, is the share of the others and the
  only result if it is 0.
  """
  alone = queries is None
  queries, labels = (reference, reference_labels) if queries is None or labels is None else (queries, labels)
  on_devices = replicate(mesh, (normalize(jnp.asarray(reference)), jnp.asarray(reference_labels)))
  size = padded_rows(min(QUERIES, len(queries)), mesh)
  parts = []
  for start in range(0, len(queries), size):
    rows = np.arange(start, start + size)
    picked = np.minimum(rows, len(queries) - 1)
    own = picked if alone else np.full(size, -1)
    block = replicate(mesh, (queries[picked], labels[picked], own.astype(np.int32)))
    ranked = to_host(mesh, rankings(mesh, *on_devices, *block))
    parts.append([x[rows < len(queries)] for x in ranked])
  precision, first, total = (np.concatenate(x) for x in zip(*parts, strict=True))
  retrievable = total > 0
  share = {SHARE: float(retrievable.mean())}
  if not retrievable.any():
    return share
  suffix = "_cosine" + "_leave_one_out" * alone
  recalls = {metric(f"recall{k}{suffix}", f"Recall at {k}"): 100.0 * float((first[retrievable] < k).mean()) for k in ks}
  mean_precision = 100.0 * float(precision[retrievable].mean(dtype=np.float64))
  return {**recalls, metric(f"map{suffix}", "Mean average precision"): mean_precision, **share}
