"""k-NN classification by three protocols (DINO, ISD, ReSA on CIFAR), and exact nearest neighbors."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxssl.core.errors import UserError
from jaxssl.core.metric import Measurement, Metric, Scalar, accuracy_metric
from jaxssl.core.types import Array
from jaxssl.evals.features import FeatureExtractor, by_group
from jaxssl.evals.registry import evaluation
from jaxssl.ops import nearest
from jaxssl.ops.nearest import normalize
from jaxssl.parallel.mesh import global_rows, local_slice, replicate, to_host

QUERIES = 16384  # queries on the devices at a time
BLOCK = 1024  # queries compared at a time
CHUNK = 65536  # reference rows compared at a time on each device


def metric(protocol: str, k: int) -> Metric:
  """Returns the metric of a protocol, one of PROTOCOLS, and a number of neighbors."""
  nearest_by = {"cosine": "neighbors", "unweighted": "neighbors, unweighted", "euclidean": "by distance"}[protocol]
  return accuracy_metric(
    f"knn{k}_{protocol}", f"{k} nearest {nearest_by}", f"Accuracy of a vote of the {k} most similar training images."
  )


PROTOCOLS: Mapping[str, Mapping[str, Scalar]] = {
  "cosine": {"similarity": "cosine", "vote": "exp(similarity / temperature)"},  # DINO
  "unweighted": {"similarity": "cosine", "vote": "majority, ties to the smaller class"},  # ISD
  "euclidean": {"similarity": "Euclidean", "vote": "majority, ties to the smaller class"},  # ReSA on CIFAR
}


@evaluation("knn", labels=True)
def measure(extractor: FeatureExtractor) -> list[Measurement]:
  """Measures top-1 accuracy in percent for every protocol and k in `evals.knn`.

  Raises UserError if a k exceeds the size of the reference set.
  """
  config, reference, test = extractor.config.evals.knn, extractor.reference, extractor.test
  queries = test or reference
  ks = {"cosine": config.k, "unweighted": config.unweighted_k, "euclidean": config.euclidean}
  found = []
  for euclidean in (False, True):
    protocols = {name: ks[name] for name in ks if (name == "euclidean") == euclidean and ks[name]}
    if not protocols:
      continue
    k_max, most = max(map(max, protocols.values())), len(reference.x) - (test is None)
    if not 0 < min(map(min, protocols.values())) <= k_max <= most:
      raise UserError(f"evals.knn: k={k_max} is out of range; expected 1 to {most}, the size of the reference set")
    values, ids = neighbors(extractor.mesh, reference.x, test and test.x, k_max, euclidean)
    for protocol, of in protocols.items():
      for k in of:
        guess = vote(values[:, :k], reference.labels[ids[:, :k]], len(extractor.classes), protocol, config.temperature)
        fields = {"k": k, **PROTOCOLS[protocol], **({"temperature": config.temperature} if protocol == "cosine" else {})}
        fields |= {**reference.protocol, **(test.protocol if test else {"test": "leave one out"})}
        full = metric(protocol, k) if test else metric(protocol, k).variant("leave_one_out", "")
        for of_group, value, more in by_group(full, guess == queries.labels, queries.labels, extractor.class_groups):
          found.append(Measurement(metric=of_group, value=value, subject=extractor.subject, protocol={**fields, **more}))
  return found


def vote(values: np.ndarray, labels: np.ndarray, num_classes: int, protocol: str, temperature: float) -> np.ndarray:
  """Classifies by the neighbors: similarities float32 [m, k] and labels int32 [m, k] to classes int [m]."""
  if protocol == "cosine":
    return np.asarray(class_scores(jnp.asarray(values), jnp.asarray(labels), num_classes, temperature)).argmax(1)
  counts = np.zeros((len(labels), num_classes), np.int32)
  np.add.at(counts, (np.arange(len(labels))[:, None], labels), 1)
  return counts.argmax(1)


@functools.partial(jax.jit, static_argnums=(2, 3))
def class_scores(similarities: Array, labels: Array, num_classes: int, temperature: float) -> Array:
  """Sums exp(similarity / temperature) of the neighbors of each class.

  similarities: float32 [b, k]; labels: int32 [b, k]. Returns float32 [b, num_classes].
  """
  weights = jnp.exp(similarities / temperature)
  rows = jnp.arange(len(labels))[:, None]
  return jnp.zeros((len(labels), num_classes)).at[rows, labels].add(weights)


def neighbors(
  mesh: Mesh, reference: np.ndarray, queries: np.ndarray | None, k: int, euclidean: bool = False
) -> tuple[np.ndarray, np.ndarray]:
  """Finds the k nearest reference rows of each query, exactly: (similarities float32 [m, k], rows int32 [m, k]), nearest first.

  reference: float32 [n, f]; queries: float32 [m, f], or None: each reference row among the others. Similarities are cosines;
  with `euclidean`, numbers that rise as the distance of the features falls. Raises UserError if k exceeds the reference.
  """
  alone = queries is None
  if k > len(reference) - alone:
    raise UserError(f"k={k}: too large; the reference set has {len(reference)} images")
  unit = 64 * mesh.size  # the rows of a device are whole blocks; see ops.nearest.blockwise_top_k
  padded = np.zeros((-(-len(reference) // unit) * unit, reference.shape[1]), np.float32)
  padded[: len(reference)] = reference
  prepare = functools.partial(_prepare, center=reference.mean(0, keepdims=True) if euclidean else None)
  own = local_slice(mesh, len(padded))
  rows, usable = global_rows(mesh, (padded[own], (np.arange(len(padded)) < len(reference))[own]))
  rows = prepare(rows, is_reference=True)
  queried = reference if queries is None else queries
  size = -(-len(queried) // -(-len(queried) // QUERIES))
  found: list[tuple[np.ndarray, np.ndarray]] = []
  for start in range(0, len(queried), size):
    part = queried[start : start + size]
    if len(part) < size:  # the last block is padded, so that it is not compiled for
      part = np.concatenate([part, np.zeros((size - len(part), part.shape[1]), part.dtype)])
    near = search(mesh, rows, usable, prepare(replicate(mesh, part), is_reference=False), k + alone)
    values, ids = (x[: len(queried) - start] for x in to_host(mesh, near))
    if alone:  # an image is not its own neighbor
      other = ids != np.arange(start, start + len(ids))[:, None]
      order = np.argsort(~other, axis=1, kind="stable")[:, :k]
      values, ids = np.take_along_axis(values, order, 1), np.take_along_axis(ids, order, 1)
    found.append((values, ids))
  values, ids = zip(*found, strict=True)
  return np.concatenate(values), np.concatenate(ids)


@functools.partial(jax.jit, static_argnames=("is_reference",))
def _prepare(rows: Array, is_reference: bool, center: Array | None) -> Array:
  """Returns rows whose products rise with the cosine or, around a center, fall with the distance.

  |q - b|^2 = |q|^2 - 2 (q b - |b|^2 / 2).
  """
  if center is None:
    return normalize(rows)
  rows = rows - center
  last = -0.5 * jnp.sum(rows**2, axis=1, keepdims=True) if is_reference else jnp.ones((len(rows), 1))
  return jnp.concatenate([rows, last], axis=1)


@functools.partial(jax.jit, static_argnames=("mesh", "k"))
def search(mesh: Mesh, reference: Array, usable: Array, queries: Array, k: int) -> tuple[Array, Array]:
  """Searches prepared rows, one block of queries after the other; see ops.nearest.search."""
  blocks = -(-len(queries) // BLOCK)
  size = -(-len(queries) // blocks)
  padded = jnp.pad(queries, ((0, blocks * size - len(queries)), (0, 0))).reshape(blocks, size, -1)
  found = jax.lax.map(lambda block: nearest.search(mesh, reference, usable, block, k, CHUNK), padded)
  return jax.tree.map(lambda x: x.reshape(-1, k)[: len(queries)], found)
