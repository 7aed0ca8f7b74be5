"""Measures retrieval by cosine similarity: recall and mean average precision of images of the same class."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxssl.core.metric import Measurement, Metric, accuracy_metric
from jaxssl.core.types import Array
from jaxssl.evals.features import FeatureExtractor, evaluation, extract, in_batches, measurements
from jaxssl.ops.nearest import dot, normalize
from jaxssl.parallel.mesh import replicate

QUERIES = 512  # at a time; each needs a few numbers for every image
ABOUT = "Share of the images whose class has another image; only these are measured."
SHARE = Metric("share_retrievable", "Retrievable", ABOUT, "Accuracy")


@evaluation("retrieval", labels=True)
def measure(extractor: FeatureExtractor) -> list[Measurement]:
  """Measures recall and mean average precision within the test set or, without one, the reference set; leave one out."""
  images = extractor.test or extractor.reference
  values = accuracy(extractor.mesh, images.x, images.labels, extractor.config.evals.retrieval_k)
  return measurements(extractor, values, {"similarity": "cosine", **images.protocol})


def accuracy(mesh: Mesh, x: np.ndarray, labels: np.ndarray, ks: tuple[int, ...]) -> dict[Metric, float]:
  """Computes recall at every k and mean average precision over the ranking of all other images.

  x: float32 [n, f]; labels: int32 [n]. Recall at k: one of the k most similar images has the image's class. Of equally similar
  images, those of other classes come first, so that collapsed features gain nothing. Images that are alone in their
  class are left out of the means; `share_retrievable`, in 0..1, is the share of the others, and the only result if it is 0.
  """
  rank = functools.partial(rankings, *replicate(mesh, (normalize(jnp.asarray(x)), jnp.asarray(labels))))
  precision, first, total = extract(mesh, rank, in_batches(mesh, len(x), QUERIES), len(x))
  retrievable = total > 0
  share = {SHARE: float(retrievable.mean())}
  if not retrievable.any():
    return share
  metric = functools.partial(accuracy_metric, description="How well an image finds the others of its class.")
  values = {metric(f"recall{k}_cosine_leave_one_out", f"Recall at {k}"): (first[retrievable] < k).mean() for k in ks}
  values[metric("map_cosine_leave_one_out", "Mean average precision")] = precision[retrievable].mean(dtype=np.float64)
  return {metric: 100.0 * float(value) for metric, value in values.items()} | share


@jax.jit
def rankings(x: Array, labels: Array, rows: Array) -> tuple[Array, Array, Array]:
  """Ranks all other images for each of `rows`, int32 [b], which are sharded over the devices.

  x: float32 [n, f], unit length; labels: int32 [n]. Returns the average precision, float32 [b], 0 if no other image has the
  class; the rank of the first that has, from 0; and their number, int32 [b].
  """
  other = jnp.arange(len(x))[None, :] != rows[:, None]
  relevant = other & (labels[None, :] == labels[rows][:, None])
  # One sort of integers takes a fifth of the time of sorting pairs: the cosine, and relevance in the lowest bit.
  cosine = (dot(x[rows], x) * 2.0**29).astype(jnp.int32)
  keys = jnp.where(other, relevant - 2 * cosine, jnp.iinfo(jnp.int32).max - 1)
  hits = jnp.sort(keys, axis=1) & 1
  hits_so_far = jnp.cumsum(hits, axis=1)
  precision = hits_so_far / jnp.arange(1, len(x) + 1)[None, :]
  total = hits_so_far[:, -1]
  return jnp.sum(precision * hits, axis=1) / jnp.maximum(total, 1), jnp.argmax(hits, axis=1), total
