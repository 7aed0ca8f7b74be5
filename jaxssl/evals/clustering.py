"""Measures how well classes form clusters, and how well k-means clusters agree with classes (ReSA's study)."""

import warnings

import jax.numpy as jnp
import numpy as np

from jaxssl.core.metric import Measurement, Metric
from jaxssl.evals.features import FeatureExtractor, evaluation, measurements
from jaxssl.ops.nearest import normalize

ROWS = 10_000  # images of a silhouette, each of which is compared with all others
LLOYD = 10**9  # rows x features x clusters; above, mini-batch k-means: at this size 300 passes take a minute on two cores
Figure = tuple[str, str, int]  # (algorithm, figure, sample size)
TITLES = {
  "silhouette": "Silhouette of the classes",
  "silhouette_deviation": "Deviation of silhouettes",
  "davies_bouldin": "Davies-Bouldin index of the classes",
  "ari": "Adjusted Rand index",
  "nmi": "Normalized mutual information",
  "purity": "Purity",
  "hungarian_accuracy": "Accuracy by the best assignment",
}
ALGORITHMS = {"kmeans": "k-means", "minibatch_kmeans": "mini-batch k-means"}


def metric(layer: str, algorithm: str, figure: str, rows: int) -> Metric:
  """Returns the metric of a layer; algorithm: one of ALGORITHMS, or empty; rows: size of the sample, 0 for all images."""
  name = "_".join(filter(None, (layer, algorithm, figure, f"of_{rows}" if rows else "")))
  title = ", ".join(filter(None, (TITLES[figure], ALGORITHMS.get(algorithm), layer.replace("_", " "))))
  about = f"How well {ALGORITHMS[algorithm]} finds the classes" if algorithm else "How well classes are separated"
  higher_is_better = None if figure == "silhouette_deviation" else figure != "davies_bouldin"
  return Metric(name, title, f"{about} in the features.", "Features", higher_is_better=higher_is_better)


@evaluation("clusters", labels=True, random=True)
def measure(extractor: FeatureExtractor) -> list[Measurement]:
  """Measures each layer of encoder and projector on the test or reference set: encoder_silhouette, hidden_1_kmeans_nmi, ..."""
  queries = extractor.test or extractor.reference
  layers = {"pixels": queries.x}
  if extractor.variables is not None:
    layers = extractor.features(extractor.datasets.test or extractor.datasets.reference, "layers")
  measured: list[Measurement] = []
  for layer, x in layers.items():
    protocol = {"layer": layer, "features": "unit length", **queries.protocol}
    values = figures(x, queries.labels, extractor.config.train.seed)
    measured += measurements(extractor, {metric(layer, *figure): value for figure, value in values.items()}, protocol)
  return measured


def figures(features: np.ndarray, labels: np.ndarray, seed: int, rows: int = ROWS) -> dict[Figure, float]:
  """Computes the `separation` of the classes, and the `agreement` of as many k-means clusters with them.

  features: float32 [n, f], scaled to unit length first; labels: int [n]. Empty if there is one class, or one per image.
  """
  if not _is_partition(labels):
    return {}
  unit = np.asarray(normalize(jnp.asarray(features)))
  k = len(np.unique(labels))
  algorithm = "minibatch_kmeans" if unit.size * k > LLOYD else "kmeans"
  agreements = agreement(labels, kmeans(unit, k, seed, algorithm))
  return separation(unit, labels, rows, seed) | {(algorithm, name, 0): value for name, value in agreements.items()}


def separation(features: np.ndarray, partition: np.ndarray, rows: int, seed: int) -> dict[Figure, float]:
  """Computes mean and deviation of the silhouettes, and davies_bouldin, of features [n, f] by partition, int [n].

  If n exceeds rows, silhouettes are those of a random sample of that size; a sample with a single part has none. Parts with the
  same center, as those of collapsed features, have no davies_bouldin.
  """
  from sklearn import metrics

  # A common shift keeps distances; those of equal rows become exact zeros instead of rounding errors.
  moved = features.astype(np.float64) - features[0]
  values_by_figure: dict[Figure, float] = {}
  size = rows if len(features) > rows else 0
  sample = np.random.default_rng(seed).choice(len(features), size, replace=False) if size else np.arange(len(features))
  if _is_partition(partition[sample]):
    values = np.asarray(metrics.silhouette_samples(moved[sample], partition[sample]))
    values_by_figure = {("", "silhouette", size): float(values.mean()), ("", "silhouette_deviation", size): float(values.std())}
  centers = np.stack([moved[partition == part].mean(0) for part in np.unique(partition)])
  if np.allclose(centers, centers[0]):  # scikit-learn returns 0, the best of all values
    return values_by_figure
  return values_by_figure | {("", "davies_bouldin", 0): float(metrics.davies_bouldin_score(moved, partition))}


def kmeans(features: np.ndarray, k: int, seed: int, algorithm: str = "kmeans") -> np.ndarray:
  """Finds k clusters of features [n, f] from one k-means++ start: int32 [n]; fewer clusters if fewer than k rows differ."""
  from sklearn import cluster, exceptions

  lloyd = algorithm == "kmeans"
  model = cluster.KMeans(k, random_state=seed) if lloyd else cluster.MiniBatchKMeans(k, random_state=seed, batch_size=4096)
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", exceptions.ConvergenceWarning)  # collapsed features
    return model.fit_predict(features).astype(np.int32)


def agreement(labels: np.ndarray, assignment: np.ndarray) -> dict[str, float]:
  """Compares clusters with classes, both int [n]; 1 if they are the same up to renumbering.

  purity: share of images in the majority class of their cluster; hungarian_accuracy: share of images in the class of their
  cluster under the best one-to-one assignment.
  """
  from scipy.optimize import linear_sum_assignment
  from sklearn import metrics

  table = metrics.cluster.contingency_matrix(labels, assignment)  # [classes, clusters]
  return {
    "ari": float(metrics.adjusted_rand_score(labels, assignment)),
    "nmi": float(metrics.normalized_mutual_info_score(labels, assignment)),
    "purity": float(table.max(0).sum() / len(labels)),
    "hungarian_accuracy": float(table[linear_sum_assignment(table, maximize=True)].sum() / len(labels)),
  }


def _is_partition(partition: np.ndarray) -> bool:
  return 2 <= len(np.unique(partition)) < len(partition)
