"""Classifies by k-NN with three protocols (DINO, ISD, ReSA on CIFAR), and finds exact nearest neighbors."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxssl.config.eval_schema import KnnConfig
from jaxssl.core import UserError
from jaxssl.core.metric import Measurement, Scalar, accuracy_metric
from jaxssl.core.types import Array
from jaxssl.evals.features import FeatureExtractor, accuracies, evaluation, extract, in_batches
from jaxssl.ops import nearest
from jaxssl.parallel.mesh import global_rows, local_slice

_normalize = jax.jit(nearest.normalize)
QUERIES = 1024  # compared at a time
PARTS, PART_QUERIES = 8, 512  # on a CPU: parts of a batch, one after the other in the same memory; queries in each
CHUNK = 65536  # reference rows compared at a time on each device
LEAVE_ONE_OUT = "leave one out"  # in the protocol, in place of a test set
TITLES = {"cosine": "neighbors", "unweighted": "neighbors, unweighted", "euclidean": "by distance"}
PROTOCOLS: Mapping[str, Mapping[str, Scalar]] = {
  "cosine": {"similarity": "cosine", "vote": "exp(similarity / temperature)"},  # DINO
  "unweighted": {"similarity": "cosine", "vote": "majority, ties to the smaller class"},  # ISD
  "euclidean": {"similarity": "Euclidean", "vote": "majority, ties to the smaller class"},  # ReSA on CIFAR
}


@evaluation("knn", labels=True)
def measure(extractor: FeatureExtractor) -> list[Measurement]:
  """Measures top-1 accuracy in percent for every protocol and k in `evals.knn`. Raises UserError for a k that is too large.

  The reference set classifies the test set or, without one, each of its images by the others: leave one out.
  """
  config, reference, test = extractor.config.evals.knn, extractor.reference, extractor.test
  queries, own = (test.x, None) if test else (reference.x, np.arange(len(reference.x)))
  check(config, len(reference.x) - (test is None))
  measured = []
  for protocol, ks in (("cosine", config.k), ("unweighted", config.unweighted_k), ("euclidean", config.euclidean)):
    if ks:
      values, ids = neighbors(extractor.mesh, reference.x, queries, max(ks), protocol == "euclidean", own)
    temperature = config.temperature if protocol == "cosine" else None
    fields = {**PROTOCOLS[protocol], **({"temperature": temperature} if temperature else {}), **reference.protocol}
    fields |= test.protocol if test else {"test": LEAVE_ONE_OUT}
    for k in ks:
      scores = class_scores(values[:, :k], reference.labels[ids[:, :k]], len(extractor.classes), temperature)
      about = f"Accuracy of a vote of the {k} most similar {'' if test else 'other '}training images."
      metric = accuracy_metric(f"knn{k}_{protocol}", f"{k} nearest {TITLES[protocol]}", about)
      metric = metric if test else metric.variant("leave_one_out", LEAVE_ONE_OUT)
      measured += accuracies(extractor, metric, scores.argmax(1), {"k": k, **fields})
  return measured


def check(config: KnnConfig, largest: int) -> None:
  """Raises UserError for a number of neighbors above `largest`, the number of images to compare with."""
  for field in ("k", "unweighted_k", "euclidean"):
    if wrong := [k for k in getattr(config, field) if not 0 < k <= largest]:
      expected = f"expected 1 to {largest}, the number of images to compare with"
      raise UserError(f"evals.knn.{field}={wrong[0]}: out of range; {expected}")


def class_scores(similarities: np.ndarray, labels: np.ndarray, num_classes: int, temperature: float | None) -> np.ndarray:
  """Sums the votes of the neighbors of each class: exp(similarity / temperature) up to a factor, or 1 without a temperature.

  similarities: float32 [m, k]; labels: int32 [m, k]. Returns float32 [m, num_classes]. The factor of a row makes its largest
  vote 1: at low temperatures, votes would be infinite.
  """
  below = similarities - similarities.max(1, keepdims=True)
  votes = np.exp(below / np.float32(temperature)) if temperature else np.float32(1)
  scores = np.zeros((len(labels), num_classes), np.float32)
  np.add.at(scores, (np.arange(len(labels))[:, None], labels), votes)
  return scores


def neighbors(
  mesh: Mesh, reference: np.ndarray, queries: np.ndarray, k: int, euclidean: bool = False, own: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
  """Finds the k nearest reference rows of each query, exactly: (similarities float32 [m, k], rows int32 [m, k]), nearest first.

  reference: float32 [n, f]; queries: float32 [m, f]; own: int [m], the reference row of each query, which is left out; k is at
  most the number of the others. Similarities are cosines; with `euclidean`, numbers that rise as the distance falls.
  """
  if euclidean:  # |q - b|^2 = |q|^2 - 2 (q b - |b|^2 / 2); around the center, products are smaller and so more exact
    center = reference.mean(0)
    reference, queries = reference - center, queries - center
    reference = np.column_stack([reference, -0.5 * (reference**2).sum(1)])
    queries = np.column_stack([queries, np.ones(len(queries), np.float32)])
  padding = -len(reference) % (64 * mesh.size)  # the rows of a device are whole blocks; see ops.nearest.blockwise_top_k
  padded = np.pad(np.asarray(reference, np.float32), ((0, padding), (0, 0)))
  here = local_slice(mesh, len(padded))
  rows, usable = global_rows(mesh, (padded[here], (np.arange(len(padded)) < len(reference))[here]))
  prepare = (lambda x: x) if euclidean else _normalize
  rows, most = prepare(rows), k + (own is not None)
  on_cpu = mesh.devices.flat[0].platform == "cpu"
  size = -(-len(queries) // -(-len(queries) // (PARTS * PART_QUERIES if on_cpu else QUERIES)))  # of batches, all about equal
  parts = -(-size // PART_QUERIES) if on_cpu else 1
  batches = (queries[numbers] for numbers in in_batches(mesh, len(queries), size))
  values, ids = extract(mesh, lambda batch: _search(mesh, parts, rows, usable, prepare(batch), most), batches, len(queries))
  if own is not None:
    others = np.argsort(ids == own[:, None], axis=1, kind="stable")[:, :k]
    values, ids = np.take_along_axis(values, others, 1), np.take_along_axis(ids, others, 1)
  return values, ids


@functools.partial(jax.jit, static_argnames=("mesh", "parts", "k"))
def _search(mesh: Mesh, parts: int, rows: Array, usable: Array, queries: Array, k: int) -> tuple[Array, Array]:
  """Searches as `nearest.search`, in parts of the queries.

  On a CPU, parts were measured to be faster than one large batch: the memory of a part's products is reused by the next.
  """
  if parts == 1:
    return nearest.search(mesh, rows, usable, queries, k, CHUNK)
  padded = jnp.pad(queries, ((0, -len(queries) % parts), (0, 0))).reshape(parts, -1, queries.shape[1])
  values, ids = jax.lax.map(lambda part: nearest.search(mesh, rows, usable, part, k, CHUNK), padded)
  return values.reshape(-1, k)[: len(queries)], ids.reshape(-1, k)[: len(queries)]
