"""How well classes form clusters, and how well clusters found without labels agree with them (ReSA's study)."""

import warnings

import jax.numpy as jnp
import numpy as np

from jaxssl.core.errors import UserError
from jaxssl.evals.feature_stats import entropy
from jaxssl.evals.features import FeatureExtractor
from jaxssl.ops.nearest import normalize
from jaxssl.workdir.results import Measurement

ROWS = 10_000  # a silhouette compares as many images with each other
DESCRIPTIONS = {
  "silhouette": "mean silhouette of the classes",
  "silhouette_deviation": "deviation of the silhouettes of the classes over images",
  "davies_bouldin": "Davies-Bouldin index of the classes",
  **{
    f"{name}_{figure}": f"{figure} of {how} with as many clusters as classes against the classes"
    for name, how in (("kmeans", "k-means"), ("minibatch_kmeans", "mini-batch k-means"))
    for figure in ("ari", "nmi", "purity", "hungarian_accuracy")
  },
}
LLOYD = 10**9  # rows x features x clusters; above, k-means takes mini-batches: 300 passes take a minute on two cores here


def measure(subject: FeatureExtractor) -> list[Measurement]:
  """The figures of the encoder's output and of every layer of the projector, of the test split, or else of the bank.

  Named by layer: `encoder_silhouette`, `hidden_1_kmeans_nmi`, ...
  """
  split = subject.splits.test or subject.splits.reference
  asked = subject.queries or subject.bank
  layers = subject.layers(split) if subject.variables is not None else {"pixels": asked.x}
  found = []
  for layer, x in layers.items():
    if not np.isfinite(x).all():
      raise UserError(f"features are not finite: layer {layer} of {subject.says}")
    for name, value in figures(x, asked.labels, subject.config.train.seed).items():
      protocol = f"clusters (ReSA's study), {DESCRIPTIONS[name.split('_of_')[0]]}, directions of {layer}, {asked.says}, "
      found.append(Measurement(name=f"{layer}_{name}", value=value, protocol=protocol + subject.says))
  return found


def figures(features: np.ndarray, labels: np.ndarray, seed: int, rows: int = ROWS) -> dict[str, float]:
  """Gives `separation` of the classes, and `agreement` of k-means with them, named `kmeans_...` or `minibatch_kmeans_...`.

  features: float32 [n, f], of which only the directions count: they are scaled to length one first. labels: int [n]. k is the
  number of classes that occur. Nothing is given where there is one class, or every image has its own.
  """
  if not _is_partition(labels):
    return {}
  unit = np.asarray(normalize(jnp.asarray(features)))
  k = len(np.unique(labels))
  minibatch = unit.size * k > LLOYD
  found = agreement(labels, kmeans(unit, k, seed, minibatch))
  name = "minibatch_kmeans" if minibatch else "kmeans"
  return separation(unit, labels, rows, seed) | {f"{name}_{figure}": value for figure, value in found.items()}


def separation(features: np.ndarray, partition: np.ndarray, rows: int, seed: int) -> dict[str, float]:
  """Gives mean and deviation of the silhouettes, and davies_bouldin, of features [n, f] split by partition: int [n].

  Where n exceeds rows, silhouettes are those of a sample by itself, and their names end in `_of_{rows}`. The partition needs
  two parts at least, and one of two images; a sample that lacks them gives no silhouette.
  """
  from sklearn import metrics

  # Distances do not change when all is moved; those of equal rows become exact zeros, not rounding errors to be compared.
  moved = features.astype(np.float64) - features[0]
  found, suffix, some = {}, "", slice(None)
  if len(features) > rows:
    some, suffix = sample(partition, rows, seed), f"_of_{rows}"
  if _is_partition(partition[some]):
    values = np.asarray(metrics.silhouette_samples(moved[some], partition[some]))
    found = {f"silhouette{suffix}": float(values.mean()), f"silhouette_deviation{suffix}": float(values.std())}
  return found | {"davies_bouldin": float(metrics.davies_bouldin_score(moved, partition))}


def sample(partition: np.ndarray, rows: int, seed: int) -> np.ndarray:
  """Draws `rows` images, int [rows] in rising order: two of each part (of as many parts as fit), then from all the rest."""
  rng = np.random.default_rng(seed)
  _, part, sizes = np.unique(partition, return_inverse=True, return_counts=True)
  shuffled = rng.permutation(len(part))
  grouped = shuffled[np.argsort(part[shuffled], kind="stable")]
  place = np.arange(len(part)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
  lot = np.where(place < 2, rng.random(len(sizes))[part[grouped]], 1 + rng.random(len(part)))  # a pair shares its lot
  return np.sort(grouped[np.argsort(lot, kind="stable")[:rows]])


def kmeans(features: np.ndarray, k: int, seed: int, minibatch: bool = False) -> np.ndarray:
  """Finds k clusters of features [n, f] from one k-means++ start; gives each image's cluster, int32 [n].

  Clusters may stay empty where fewer than k features differ.
  """
  from sklearn import cluster, exceptions

  if minibatch:
    model = cluster.MiniBatchKMeans(k, random_state=seed, batch_size=4096)
  else:
    model = cluster.KMeans(k, random_state=seed)
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", exceptions.ConvergenceWarning)  # that is what it says of collapsed features
    return model.fit_predict(features).astype(np.int32)


def contingency(labels: np.ndarray, assignment: np.ndarray) -> np.ndarray:
  """Counts the images of each class in each cluster: int64 [clusters, classes], in rising order of their numbers."""
  classes, label = np.unique(labels, return_inverse=True)
  clusters, cluster = np.unique(assignment, return_inverse=True)
  counts = np.bincount(cluster * len(classes) + label, minlength=len(clusters) * len(classes))
  return counts.reshape(len(clusters), len(classes))


def agreement(labels: np.ndarray, assignment: np.ndarray) -> dict[str, float]:
  """Compares clusters with classes, both int [n]; 1: the same up to the numbers of the clusters.

  ari: pairs of images that both agree on, 0 by chance (Hubert & Arabie, 1985); nmi: mutual information by the mean of both
  entropies; purity: share of images of their cluster's main class; hungarian_accuracy: share of images of their cluster's
  class when each cluster is given a class of its own, the best way.
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
  """Whether there are two parts at least, and one of two images at least."""
  return 2 <= len(np.unique(partition)) < len(partition)
