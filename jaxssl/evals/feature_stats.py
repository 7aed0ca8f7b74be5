"""What features say of themselves, without labels: how many dimensions they use, and how they lie on the sphere."""

import numpy as np

from jaxssl.evals.features import FeatureExtractor
from jaxssl.evals.finetune import two_crops
from jaxssl.workdir.results import Measurement

ROWS, PAIRS = 4096, 1024  # images looked at
DESCRIPTIONS = {
  "effective_rank": "exp(entropy of normalized singular values)",
  "rankme": "RankMe",
  "uniformity": "uniformity, t = 2, of directions",
  "deviation": "mean deviation over dimensions, times their root, of directions",
  "alignment": "mean squared distance between the directions of two random crops",
}


def measure(subject: FeatureExtractor) -> list[Measurement]:
  """The figures of the test split, or else of the bank; and the alignment of two random crops of the bank's images."""
  asked = subject.queries or subject.bank
  found = figures(asked.x)
  of = {name: f"{DESCRIPTIONS[name]} of up to {ROWS} of {asked.says}, {subject.says}" for name in found}
  if subject.variables is not None:
    one, other = two_crops(subject, np.arange(min(len(subject.bank.x), PAIRS)))
    found["alignment"] = alignment(one, other)
    of["alignment"] = f"{DESCRIPTIONS['alignment']} of {len(one)} of {subject.bank.says}, {subject.says}"
  return [Measurement(name=name, value=value, protocol=of[name]) for name, value in found.items()]


def figures(features: np.ndarray, rows: int = ROWS) -> dict[str, float]:
  """Gives effective_rank, rankme, uniformity and deviation of features [n, f]: of `rows` random ones, where there are more.

  The ranks are of the features as they are, the others of their directions.
  """
  if len(features) > rows:
    features = features[np.sort(np.random.default_rng(0).choice(len(features), rows, replace=False))]
  values = singular_values(features)
  return {
    "effective_rank": effective_rank(values),
    "rankme": rankme(values),
    "uniformity": uniformity(features),
    "deviation": deviation(features),
  }


def singular_values(features: np.ndarray) -> np.ndarray:
  """Gives the float64 [min(n, f)] singular values of features [n, f], largest first.

  Through the smaller matrix of inner products: 10 to 70 times faster than a decomposition of the features. What lies below 1e-7
  of the largest counts as zero: float32 features hold nothing finer.
  """
  x = np.asarray(features, np.float64)
  squares = np.linalg.eigvalsh(x.T @ x if x.shape[0] >= x.shape[1] else x @ x.T)[::-1]
  return np.sqrt(np.where(squares > 1e-14 * squares[0], squares, 0))


def entropy(shares: np.ndarray) -> float:
  """Gives -sum(p log p) of shares p of any shape; p = 0 adds nothing."""
  shares = shares[shares > 0]
  return float(-(shares * np.log(shares)).sum())


def effective_rank(singular_values: np.ndarray) -> float:
  """Gives exp(entropy of the normalized singular values), 1 where all are zero (Roy & Vetterli, 2007)."""
  total = singular_values.sum()
  return float(np.exp(entropy(singular_values / total))) if total else 1.0


def rankme(singular_values: np.ndarray) -> float:
  """The same with 1e-7 added to every share, those of zero included (RankMe: Garrido et al., 2023)."""
  total = singular_values.sum()
  return float(np.exp(entropy(singular_values / (total or 1) + 1e-7)))


def unit(features: np.ndarray) -> np.ndarray:
  """Scales rows [n, f] to length one, float64; rows of zeros stay."""
  x = np.asarray(features, np.float64)
  return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def alignment(features: np.ndarray, partners: np.ndarray, power: float = 2) -> float:
  """Gives the mean of |x - y|^power over pairs of directions: rows of features and partners, both [n, f].

  0: the views of an image agree (Wang & Isola, 2020, section 4.1).
  """
  return float((np.linalg.norm(unit(features) - unit(partners), axis=1) ** power).mean())


def uniformity(features: np.ndarray, t: float = 2) -> float:
  """Gives log mean exp(-t |x - y|^2) over all pairs of distinct rows of features [n, f], n > 1, by their directions.

  0: all the same; near -2t: spread evenly in many dimensions (Wang & Isola, 2020, section 4.1). Holds n x n numbers.
  """
  x = unit(features)
  squares = (x * x).sum(1)
  kernel = np.exp(-t * np.maximum(squares[:, None] + squares[None, :] - 2 * x @ x.T, 0))
  np.fill_diagonal(kernel, 0)
  return float(np.log(kernel.sum() / (len(x) * (len(x) - 1))))


def deviation(features: np.ndarray) -> float:
  """Gives sqrt(f) times the mean deviation of a dimension over the directions of features [n, f].

  1: spread evenly over the sphere; 0: collapsed (SimSiam: Chen & He, 2021, section 4.1).
  """
  x = unit(features)
  return float(np.sqrt(x.shape[1]) * x.std(0).mean())
