"""Measures features without labels: the dimensions they use, and their distribution on the sphere."""

import functools

import numpy as np
from scipy import linalg, special

from jaxssl.core.metric import Measurement, Metric
from jaxssl.evals.crops import crop_protocol, random_crops
from jaxssl.evals.features import FeatureExtractor, evaluation, measurements

ROWS, PAIRS = 4096, 1024  # largest samples of images
LEAST, MOST = 256, 1024  # images for LiDAR: as many as features, within these limits, since there should be no fewer
CROPS = 10  # of each image, for LiDAR
DELTA = 1e-4  # added to the covariance within images, for LiDAR, as a share of the mean variance of a feature
CONSTANT = 1e-6  # features that vary less, relative to their size, are constant in float32
SAME = 1e-9  # cosines that differ by less are equal
_metric = functools.partial(Metric, group="Features")
EFFECTIVE_RANK = _metric(
  "effective_rank", "Effective rank", "Directions in use: exp(entropy of normalized singular values). Near 1: collapse."
)
RANKME = _metric("rankme", "RankMe", "The effective rank, 1e-7 added to each share.")
LIDAR = _metric(
  "lidar",
  "LiDAR",
  "Directions that tell images apart, those by which crops of one image differ weighted down: the effective rank of the "
  "linear-discriminant-analysis matrix whose classes are images. At most the number of images less 1, or of features.",
)
UNIFORMITY = _metric("uniformity", "Uniformity", "How evenly images spread. Near 0: collapse; more negative: spread wider.")
ALIGNMENT = _metric(
  "alignment", "Alignment", "Mean squared distance of two random crops of an image. Small is good while images stay spread out."
)
CROPS_ALIKE = _metric(
  "crops_alike",
  "Crops of an image are alike",
  "The share of the crops of other images to which a crop is less similar than to the other crop of its own. By chance 50%. "
  "Networks are trained for this: it shows that training worked, not how useful the features are.",
  unit="%",
  higher_is_better=True,
)
DEVIATION = _metric(
  "deviation", "Deviation", "Mean deviation over dimensions, times their root. 1: features fill the sphere evenly; 0: collapse."
)


@evaluation("quality")
def measure(extractor: FeatureExtractor) -> list[Measurement]:
  """Measures random crops of reference images, and the spread of the test set or, without one, of the reference set.

  Raw pixels have another dimension than features, so that only `crops_alike` can be compared with theirs.
  """
  first, second = random_crops(extractor, _drawn(extractor, PAIRS), 2)
  of_crops = {"sample": len(first), **crop_protocol(extractor), **extractor.reference.protocol}
  measured = measurements(extractor, {CROPS_ALIKE: crops_alike(first, second)}, of_crops)
  if extractor.variables is not None:
    queries = extractor.test or extractor.reference
    protocol = {"sample": min(ROWS, len(queries.x)), **queries.protocol}
    measured += measurements(extractor, figures(queries.x), protocol)
    measured += measurements(extractor, {ALIGNMENT: alignment(first, second)}, of_crops)
    measured += _lidar(extractor)
  return measured


def _drawn(extractor: FeatureExtractor, most: int) -> np.ndarray:
  """Draws rows of the reference set, sorted, from all of it, since the first rows may be of one class."""
  return np.sort(np.random.default_rng(0).permutation(len(extractor.reference.x))[:most])


def _lidar(extractor: FeatureExtractor) -> list[Measurement]:
  rows = _drawn(extractor, int(np.clip(extractor.reference.x.shape[1], LEAST, MOST)))
  protocol = {"sample": len(rows), "crops": CROPS, "delta": DELTA, **crop_protocol(extractor), **extractor.reference.protocol}
  return measurements(extractor, {LIDAR: lidar(random_crops(extractor, rows, CROPS))}, protocol)


def figures(features: np.ndarray, rows: int = ROWS) -> dict[Metric, float]:
  """Computes ranks, uniformity and deviation of features [n, f], of `rows` random ones if there are more."""
  if len(features) > rows:
    features = features[np.sort(np.random.default_rng(0).choice(len(features), rows, replace=False))]
  values = singular_values(features)
  return {
    EFFECTIVE_RANK: effective_rank(values),
    RANKME: effective_rank(values, added=1e-7),
    UNIFORMITY: uniformity(features),
    DEVIATION: deviation(features),
  }


def singular_values(features: np.ndarray) -> np.ndarray:
  """Computes the float64 [min(n, f)] singular values of features [n, f], largest first; values below 1e-7 of it become zero."""
  x = np.asarray(features, np.float64)  # float32 features resolve nothing finer
  # Eigenvalues of the smaller matrix of inner products: 10 to 70 times faster than a decomposition of the features
  squares = np.linalg.eigvalsh(x.T @ x if x.shape[0] >= x.shape[1] else x @ x.T)[::-1]
  return np.sqrt(np.where(squares > 1e-14 * squares[0], squares, 0))


def effective_rank(singular_values: np.ndarray, added: float = 0.0) -> float:
  """Computes exp(entropy of the normalized singular values), 1 if all are zero (Roy & Vetterli, 2007).

  `added` is added to every normalized value; with 1e-7 the result is RankMe (Garrido et al., 2023).
  """
  shares = singular_values / (singular_values.sum() or 1) + added
  return float(np.exp(special.entr(shares).sum()))


def lidar(crops: np.ndarray, delta: float = DELTA) -> float:
  """Computes LiDAR (Thilak et al., arXiv 2312.04000, section 4) of q > 1 crops of n > 1 images, [q, n, f]; 1 if all are equal.

  It is the effective rank, 1e-7 added to each share, of W^-1/2 B W^-1/2: B is the covariance of the images' means, and W that
  of crops around the mean of their image, plus `delta` on the diagonal. Features are scaled first so that their mean variance
  is 1; the paper's are not, so that its `delta` depends on their scale.
  """
  x = np.asarray(crops, np.float64)
  variance = x.var((0, 1)).mean()
  if variance <= CONSTANT**2 * (x**2).mean():
    return 1.0
  x = x / np.sqrt(variance)
  means = x.mean(0)
  inner, outer = (x - means).reshape(-1, x.shape[-1]), means - means.mean(0)
  within = inner.T @ inner / (x.shape[1] * (x.shape[0] - 1)) + delta * np.eye(x.shape[-1])
  root = linalg.cholesky(within, lower=True)  # W = R R^T, so that the squared singular values of R^-1 B^1/2 are those wanted
  whitened = linalg.solve_triangular(root, outer.T, lower=True)
  return effective_rank(singular_values(whitened.T) ** 2, added=1e-7)


def unit(features: np.ndarray) -> np.ndarray:
  """Scales rows [n, f] to unit length, float64; rows of zeros do not change."""
  x = np.asarray(features, np.float64)
  return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def alignment(features: np.ndarray, partners: np.ndarray, power: float = 2) -> float:
  """Computes the mean of |x - y|^power over pairs of rows [n, f] at unit length (Wang & Isola, 2020, section 4.1)."""
  return float((np.linalg.norm(unit(features) - unit(partners), axis=1) ** power).mean())


def crops_alike(first: np.ndarray, second: np.ndarray) -> float:
  """Computes to how many percent of the crops of other images a crop is less similar than to the other crop of its image.

  first, second: two crops of each image, [n, f] each, n > 1. Similarities are cosines; equal ones count half.
  """
  x = unit(np.concatenate([first, second]))
  cosines, rows = x @ x.T, np.arange(len(x))
  partners = (rows + len(first)) % len(x)
  own = cosines[rows, partners][:, None]
  less, same = cosines < own - SAME, np.abs(cosines - own) <= SAME
  wins = less + 0.5 * same
  wins[rows, rows] = wins[rows, partners] = 0
  return float(100 * wins.sum() / (len(x) * (len(x) - 2)))


def uniformity(features: np.ndarray, t: float = 2) -> float:
  """Computes log mean exp(-t |x - y|^2) over pairs of distinct rows [n, f], n > 1, at unit length (Wang & Isola, 2020)."""
  x = unit(features)
  squares = (x * x).sum(1)
  kernel = np.exp(-t * np.maximum(squares[:, None] + squares[None, :] - 2 * x @ x.T, 0))
  np.fill_diagonal(kernel, 0)
  return float(np.log(kernel.sum() / (len(x) * (len(x) - 1))))


def deviation(features: np.ndarray) -> float:
  """Computes sqrt(f) times the mean standard deviation of a dimension over rows [n, f] at unit length (Chen & He, 2021)."""
  x = unit(features)
  return float(np.sqrt(x.shape[1]) * x.std(0).mean())
