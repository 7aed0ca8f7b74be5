"""How well classes form clusters, and how well k-means clusters agree with classes (ReSA's study)."""

import warnings

import jax.numpy as jnp
import numpy as np

from jaxssl.core.errors import UserError
from jaxssl.core.metric import Measurement, Metric
from jaxssl.evals.feature_stats import entropy
from jaxssl.evals.features import FeatureExtractor
from jaxssl.evals.registry import evaluation
from jaxssl.ops.nearest import normalize

ROWS = 10_000  # images of a silhouette, each of which is compared with all others
Figure = tuple[str, str, int]  # (algorithm, figure, sample size)
LLOYD = 10**9  # rows x features x clusters; above, mini-batch k-means: at this size 300 passes take a minute on two cores


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
  of = "How well classes are separated" if not algorithm else f"How well {ALGORITHMS[algorithm]} finds the classes"
  return Metric(
    "_".join(filter(None, (layer, algorithm, figure, f"of_{rows}" if rows else ""))),
    ", ".join(filter(None, (TITLES[figure], ALGORITHMS.get(algorithm), layer.replace("_", " ")))),
    f"{of} in the features.",
    "Features",
    higher_is_better=None if figure == "silhouette_deviation" else figure != "davies_bouldin",
  )


@evaluation("clusters", labels=True)
def measure(extractor: FeatureExtractor) -> list[Measurement]:
  """Measures the encoder's output and every layer of the projector on the test set or, without one, the reference set.

  Names start with the layer: `encoder_silhouette`, `hidden_1_kmeans_nmi`, ...
  """
  split, queries = extractor.splits.test or extractor.splits.reference, extractor.test or extractor.reference
  layers = extractor.layers(split) if extractor.variables is not None else {"pixels": queries.x}
  found = []
  for layer, x in layers.items():
    if not np.isfinite(x).all():
      raise UserError(f"the features of layer {layer} are not finite (subject: {extractor.subject})")
    for (algorithm, figure, rows), value in figures(x, queries.labels, extractor.config.train.seed).items():
      protocol = {"layer": layer, "features": "unit length", **queries.protocol}
      made = metric(layer, algorithm, figure, rows)
      found.append(Measurement(metric=made, value=value, subject=extractor.subject, protocol=protocol))
  return found


def figures(features: np.ndarray, labels: np.ndarray, seed: int, rows: int = ROWS) -> dict[Figure, float]:
  """Computes `separation` of the classes and `agreement` of k-means with them: (algorithm, figure, sample size) -> value.

  features: float32 [n, f], scaled to unit length first. labels: int [n]. k is the number of classes that occur. The result is
  empty if there is one class, or every image has its own.
  """
  if not _is_partition(labels):
    return {}
  unit = np.asarray(normalize(jnp.asarray(features)))
  k = len(np.unique(labels))
  minibatch = unit.size * k > LLOYD
  algorithm = "minibatch_kmeans" if minibatch else "kmeans"
  agreements = agreement(labels, kmeans(unit, k, seed, minibatch))
  return separation(unit, labels, rows, seed) | {(algorithm, name, 0): value for name, value in agreements.items()}


def separation(features: np.ndarray, partition: np.ndarray, rows: int, seed: int) -> dict[Figure, float]:
  """Computes mean and deviation of the silhouettes, and davies_bouldin, of features [n, f] by partition, int [n].

  If n exceeds rows, silhouettes are those of a sample of that size. The partition needs at least two parts, one of them of
  two images; a sample that lacks them has no silhouette.
  """
  from sklearn import metrics

  # A common shift keeps distances; those of equal rows become exact zeros instead of rounding errors.
  moved = features.astype(np.float64) - features[0]
  found: dict[Figure, float] = {}
  size, some = 0, slice(None)
  if len(features) > rows:
    some, size = sample(partition, rows, seed), rows
  if _is_partition(partition[some]):
    values = np.asarray(metrics.silhouette_samples(moved[some], partition[some]))
    found = {("", "silhouette", size): float(values.mean()), ("", "silhouette_deviation", size): float(values.std())}
  return found | {("", "davies_bouldin", 0): float(metrics.davies_bouldin_score(moved, partition))}


def sample(partition: np.ndarray, rows: int, seed: int) -> np.ndarray:
  """Draws `rows` images, int [rows] ascending: two of each part (of as many parts as fit), then from the rest."""
  rng = np.random.default_rng(seed)
  _, part, sizes = np.unique(partition, return_inverse=True, return_counts=True)
  shuffled = rng.permutation(len(part))
  grouped = shuffled[np.argsort(part[shuffled], kind="stable")]
  place = np.arange(len(part)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
  priority = np.where(place < 2, rng.random(len(sizes))[part[grouped]], 1 + rng.random(len(part)))  # a pair shares its priority
  return np.sort(grouped[np.argsort(priority, kind="stable")[:rows]])


def kmeans(features: np.ndarray, k: int, seed: int, minibatch: bool = False) -> np.ndarray:
  """Finds k clusters of features [n, f] from one k-means++ start: int32 [n].

  Clusters stay empty if fewer than k rows differ.
  """
  from sklearn import cluster, exceptions

  if minibatch:
    model = cluster.MiniBatchKMeans(k, random_state=seed, batch_size=4096)
  else:
    model = cluster.KMeans(k, random_state=seed)
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", exceptions.ConvergenceWarning)  # collapsed features
    return model.fit_predict(features).astype(np.int32)


def contingency(labels: np.ndarray, assignment: np.ndarray) -> np.ndarray:
  """Counts the images of each class in each cluster: int64 [clusters, classes], ascending."""
  classes, label = np.unique(labels, return_inverse=True)
  clusters, cluster = np.unique(assignment, return_inverse=True)
  counts = np.bincount(cluster * len(classes) + label, minlength=len(clusters) * len(classes))
  return counts.reshape(len(clusters), len(classes))


def agreement(labels: np.ndarray, assignment: np.ndarray) -> dict[str, float]:
  """Compares clusters with classes, both int [n]; 1 if they are the same up to renumbering.

  ari: pairs of images on which both agree, 0 by chance (Hubert & Arabie, 1985); nmi: mutual information over the mean of
  both entropies; purity: share of images in the majority class of their cluster; hungarian_accuracy: share of images in the
  class of their cluster under the best one-to-one assignment.
  """
  from scipy.optimize import linear_sum_assignment

  table = contingency(labels, assignment)
  n, clusters, classes = table.sum(), table.sum(1), table.sum(0)
  together, in_clusters, in_classes = ((x * (x - 1.0) / 2).sum() for x in (table, clusters, classes))
  chance, most = in_clusters * in_classes / max(n * (n - 1) / 2, 1), (in_clusters + in_classes) / 2
  entropies = entropy(clusters / n) + entropy(classes / n)
  return {
    "ari": float((together - chance) / (most - chance)) if most != chance else 1.0,
    "nmi": max(0.0, 2 - 2 * entropy(table / n) / entropies) if entropies else 1.0,
    "purity": float(table.max(1).sum() / n),
    "hungarian_accuracy": float(table[linear_sum_assignment(table, maximize=True)].sum() / n),
  }


def _is_partition(partition: np.ndarray) -> bool:
  """Whether there are at least two parts, one of them of at least two images."""
  return 2 <= len(np.unique(partition)) < len(partition)
