"""How many dimensions the features really use: needs no labels."""

import numpy as np


def effective_rank(features: np.ndarray, rows: int = 4096) -> float:
  """Gives exp(entropy of the normalised singular values) of the first `rows` features [n, f] (Roy & Vetterli, 2007)."""
  values = np.linalg.svd(np.asarray(features[:rows], np.float64), compute_uv=False)
  shares = values[values > 0] / values.sum() if values.sum() > 0 else np.ones(1)
  return float(np.exp(-(shares * np.log(shares)).sum()))
