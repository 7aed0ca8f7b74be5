"""k-NN: how well the nearest training images tell an image's class, by three protocols."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxssl.config.schema import KnnConfig
from jaxssl.core.errors import UserError
from jaxssl.core.types import Array
from jaxssl.evals.features import FeatureExtractor, by_group, mean_of
from jaxssl.ops import nearest
from jaxssl.ops.nearest import normalize
from jaxssl.parallel.mesh import global_rows, local_slice, replicate, to_host
from jaxssl.workdir.results import Measurement

QUERIES = 16384  # on the devices at a time
BLOCK = 1024  # queries compared at a time
CHUNK = 65536  # bank rows compared at a time on each device


def measure(subject: FeatureExtractor) -> list[Measurement]:
  """Top-1 accuracy in percent of every protocol and k in `evals.knn`. Raises UserError where k exceeds the bank."""
  config, bank, queries = subject.config.evals.knn, subject.bank, subject.queries
  asked = queries or bank
  ks = {"cosine": config.k, "unweighted": config.unweighted_k, "euclidean": config.euclidean}
  found = []
  for space in ("cosine", "euclidean"):
    protocols = {name: ks[name] for name in ks if (name == "euclidean") == (space == "euclidean") and ks[name]}
    if not protocols:
      continue
    k_max = max(max(of) for of in protocols.values())
    if not 0 < min(min(of) for of in protocols.values()) <= k_max <= len(bank.x) - (queries is None):
      raise UserError(f"evals.knn: k={k_max} is not allowed; 1 to {len(bank.x) - (queries is None)}, the images of the bank")
    values, ids = neighbors(subject.mesh, bank.x, queries and queries.x, k_max, space == "euclidean")
    for protocol, of in protocols.items():
      for k in of:
        guess = vote(values[:, :k], bank.labels[ids[:, :k]], subject.num_classes, protocol, config.temperature)
        name = f"knn{k}_{protocol}" + ("" if queries else "_leave_one_out")
        for full, value in by_group(name, guess == asked.labels, asked.labels, subject.splits.class_groups).items():
          how = f"{describe(protocol, config)}, k {k}, bank: {bank.says}, queries: "
          how += f"{asked.says if queries else 'every image of the bank by the others'}, "
          how += mean_of(full, subject.splits.class_groups) + subject.says
          found.append(Measurement(name=full, value=value, protocol=how))
  return found


def describe(protocol: str, config: KnnConfig) -> str:
  """Names a protocol in full."""
  return {
    "cosine": f"weighted k-NN (DINO), cosine, weights exp(cosine / {config.temperature})",
    "unweighted": "k-NN by plain majority (ISD), cosine, ties to the smaller class",
    "euclidean": "k-NN by plain majority (ReSA on CIFAR), Euclidean on raw features, ties to the smaller class",
  }[protocol]


def vote(values: np.ndarray, labels: np.ndarray, num_classes: int, protocol: str, temperature: float) -> np.ndarray:
  """Classifies by the neighbors' similarities float32 [m, k] and labels int32 [m, k]: int [m]."""
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
  mesh: Mesh, bank: np.ndarray, queries: np.ndarray | None, k: int, euclidean: bool = False
) -> tuple[np.ndarray, np.ndarray]:
  """Finds the k nearest bank rows of each query, exactly: (cosines float32 [m, k], row numbers int32 [m, k]), nearest first.

  bank: float32 [n, f]; queries: float32 [m, f], or None: each bank row among the others. `euclidean`: by the distance of the
  features as they are, not by the cosine; what it gives instead of the cosine rises as the distance falls. Raises UserError
  where k exceeds the bank.
  """
  alone = queries is None
  if k > len(bank) - alone:
    raise UserError(f"k={k} is not allowed; there are {len(bank)} images to be neighbors")
  unit = 64 * mesh.size  # rows of a device come in whole blocks; see ops.similarity.largest
  padded = np.zeros((-(-len(bank) // unit) * unit, bank.shape[1]), np.float32)
  padded[: len(bank)] = bank
  prepare = functools.partial(_prepare, center=bank.mean(0, keepdims=True) if euclidean else None)
  own = local_slice(mesh, len(padded))
  rows, usable = global_rows(mesh, (padded[own], (np.arange(len(padded)) < len(bank))[own]))
  rows = prepare(rows, is_bank=True)
  asked = bank if queries is None else queries
  size = -(-len(asked) // -(-len(asked) // QUERIES))
  found: list[tuple[np.ndarray, np.ndarray]] = []
  for start in range(0, len(asked), size):
    part = asked[start : start + size]
    if len(part) < size:  # the last one, so that it is not compiled for
      part = np.concatenate([part, np.zeros((size - len(part), part.shape[1]), part.dtype)])
    near = search(mesh, rows, usable, prepare(replicate(mesh, part), is_bank=False), k + alone)
    values, ids = (x[: len(asked) - start] for x in to_host(mesh, near))
    if alone:  # an image is no neighbor of its own
      other = ids != np.arange(start, start + len(ids))[:, None]
      order = np.argsort(~other, axis=1, kind="stable")[:, :k]
      values, ids = np.take_along_axis(values, order, 1), np.take_along_axis(ids, order, 1)
    found.append((values, ids))
  values, ids = zip(*found, strict=True)
  return np.concatenate(values), np.concatenate(ids)


@functools.partial(jax.jit, static_argnames=("is_bank",))
def _prepare(rows: Array, is_bank: bool, center: Array | None) -> Array:
  """Makes rows whose products rise with the cosine; or, around a center, fall with the distance.

  |q - b|^2 = |q|^2 - 2 (q b - |b|^2 / 2).
  """
  if center is None:
    return normalize(rows)
  rows = rows - center
  last = -0.5 * jnp.sum(rows**2, axis=1, keepdims=True) if is_bank else jnp.ones((len(rows), 1))
  return jnp.concatenate([rows, last], axis=1)


@functools.partial(jax.jit, static_argnames=("mesh", "k"))
def search(mesh: Mesh, bank: Array, usable: Array, queries: Array, k: int) -> tuple[Array, Array]:
  """Searches prepared rows, a block of queries after the other; see memory.search."""
  blocks = -(-len(queries) // BLOCK)
  size = -(-len(queries) // blocks)
  padded = jnp.pad(queries, ((0, blocks * size - len(queries)), (0, 0))).reshape(blocks, size, -1)
  found = jax.lax.map(lambda block: nearest.search(mesh, bank, usable, block, k, CHUNK), padded)
  return jax.tree.map(lambda x: x.reshape(-1, k)[: len(queries)], found)
