"""Measures retrieval by cosine similarity: recall and mean average precision of images of a class, in a set or a gallery."""

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

QUERIES, SORTED = 512, 2**25  # at most so many queries, and numbers to sort, at a time
ABOUT = "Share of the images whose class has another image; only these are measured."
SHARE = Metric("share_retrievable", "Retrievable", ABOUT, "Accuracy")
IN_GALLERY = "Share of the test images whose class has an image in the gallery; only these are measured."
GALLERY_SHARE = Metric("share_retrievable_gallery", "Retrievable, gallery", IN_GALLERY, "Accuracy")


@evaluation("retrieval", labels=True)
def measure(extractor: FeatureExtractor) -> list[Measurement]:
  """Measures recall and mean average precision among the test images or, without a test set, the reference images.

  With a test set also of a gallery, the reference set, for the test images as queries.
  """
  config, reference, test = extractor.config.evals, extractor.reference, extractor.test
  images = test or reference
  values = accuracy(extractor.mesh, images.x, images.labels, config.retrieval_k)
  measured = measurements(extractor, values, {"similarity": "cosine", **images.protocol})
  if test is not None:
    values = accuracy(extractor.mesh, reference.x, reference.labels, config.retrieval_k, (test.x, test.labels))
    sets = {"queries": "test set", "gallery": "reference set", **reference.protocol, **test.protocol}
    measured += measurements(extractor, values, {"similarity": "cosine", **sets})
  return measured


def accuracy(
  mesh: Mesh, x: np.ndarray, labels: np.ndarray, ks: tuple[int, ...], queries: tuple[np.ndarray, np.ndarray] | None = None
) -> dict[Metric, float]:
  """Computes recall at every k and mean average precision over the ranking of all images for each query.

  x: float32 [n, f]; labels: int32 [n]; queries: features [m, f] and labels [m] or, if None, each image, for which all others
  are ranked. Recall at k: one of the k most similar images has the query's class. Of equally similar images, those of other
  classes come first, so that collapsed features gain nothing. Queries without a relevant image are left out of the means;
  `share_retrievable`, in 0..1, is the share of the others, and the only result if it is 0.
  """
  own, searched = queries is None, (normalize(jnp.asarray(x)), jnp.asarray(labels))
  asked = searched if queries is None else (normalize(jnp.asarray(queries[0])), jnp.asarray(queries[1]))
  rank = functools.partial(rankings, own, *replicate(mesh, searched), *replicate(mesh, asked))
  count, size = len(asked[1]), max(1, min(QUERIES, SORTED // len(x)))
  precision, first, total = extract(mesh, rank, in_batches(mesh, count, size), count)
  retrievable = total > 0
  share = {SHARE if own else GALLERY_SHARE: float(retrievable.mean())}
  if not retrievable.any():
    return share
  metric = functools.partial(accuracy_metric, description="How well an image finds the others of its class.")
  suffix, where = ("cosine_leave_one_out", "") if own else ("cosine_gallery", ", gallery")
  values = {metric(f"recall{k}_{suffix}", f"Recall at {k}{where}"): (first[retrievable] < k).mean() for k in ks}
  values[metric(f"map_{suffix}", f"Mean average precision{where}")] = precision[retrievable].mean(dtype=np.float64)
  return {metric: 100.0 * float(value) for metric, value in values.items()} | share


@functools.partial(jax.jit, static_argnums=0)
def rankings(own: bool, x: Array, labels: Array, queries: Array, classes: Array, rows: Array) -> tuple[Array, Array, Array]:
  """Ranks all images for each of the queries at `rows`, int32 [b], which are sharded over the devices.

  x: float32 [n, f] and queries: [m, f], unit length; labels: int32 [n] and classes: [m]. own: the queries are the images, and
  each ranks the others. Returns the average precision, float32 [b], 0 if no image has the class; the rank of the first that
  has, from 0; and their number, int32 [b].
  """
  others = jnp.arange(len(x))[None, :] != (rows if own else jnp.full_like(rows, -1))[:, None]
  relevant = others & (labels[None, :] == classes[rows][:, None])
  # One sort of integers takes a fifth of the time of sorting pairs: the cosine, and relevance in the lowest bit.
  cosine = (dot(queries[rows], x) * 2.0**29).astype(jnp.int32)
  keys = jnp.where(others, relevant - 2 * cosine, jnp.iinfo(jnp.int32).max - 1)
  hits = jnp.sort(keys, axis=1) & 1
  hits_so_far = jnp.cumsum(hits, axis=1)
  precision = hits_so_far / jnp.arange(1, len(x) + 1)[None, :]
  total = hits_so_far[:, -1]
  return jnp.sum(precision * hits, axis=1) / jnp.maximum(total, 1), jnp.argmax(hits, axis=1), total
