"""The figures of `clusters` and `quality` match the golden file."""

import re

import numpy as np
import pytest

from jaxssl.evals import clustering, feature_stats
from tests.golden_files import cases

GOLDEN = cases("clustering_metrics")
INPUTS = r"features2?|labels|assignment"
NOT_OURS = (
  r"silhouette_cosine_.+|calinski_harabasz_.+|nmi_.+|mutual_info|ami|homogeneity|completeness|v_measure|fowlkes_mallows|inertia"
  r"|contingency"
)
PAIRS = [(case, name) for case in GOLDEN for name in GOLDEN[case] if not re.fullmatch(f"{INPUTS}|{NOT_OURS}", name)]


def computed(name: str, case: dict[str, np.ndarray]):
  if name in ("ari", "nmi", "purity", "hungarian_accuracy"):
    return clustering.agreement(case["labels"], case["assignment"])[name]
  x = case["features"]
  if name == "silhouette_samples_labels":
    figures = clustering.separation(x, case["labels"], rows=len(x), seed=0)
    return [figures["", "silhouette", 0], figures["", "silhouette_deviation", 0]]
  if parts := re.fullmatch(r"(silhouette|davies_bouldin)(_normalized)?_(labels|assignment)", name):
    figure, normalized, partition = parts.groups()
    x = feature_stats.unit(x) if normalized else x
    return clustering.separation(x, case[partition], rows=len(x), seed=0)["", figure, 0]
  if parts := re.fullmatch(r"align(\d+)", name):
    return feature_stats.alignment(x, case["features2"], int(parts[1]))
  if parts := re.fullmatch(r"uniform(\d+)", name):
    return feature_stats.uniformity(x, int(parts[1]))
  x64 = x.astype(np.float64)
  values = feature_stats.singular_values(
    {"rankme_normalized": feature_stats.unit(x), "rankme_centered": x64 - x64.mean(0)}.get(name, x)
  )
  assert name.startswith(("rankme", "effective_rank", "singular_values")), f"no test reads {name}"
  return values if name == "singular_values" else feature_stats.effective_rank(values, 1e-7 * name.startswith("rankme"))


@pytest.mark.parametrize("case, name", PAIRS)
def test_figures_match_the_golden_file(case, name):
  expected = GOLDEN[case][name]
  if name == "silhouette_samples_labels":
    expected = [expected.mean(), expected.std()]
  # Ranks omit singular values below 1e-7 of the largest, which float32 features cannot represent.
  rtol, atol = (1e-5, 1e-6 * np.max(expected)) if name in ("singular_values", "effective_rank") else (1e-6, 1e-6)
  np.testing.assert_allclose(computed(name, GOLDEN[case]), expected, rtol=rtol, atol=atol)


def test_every_golden_case_is_read():
  assert {case for case, _ in PAIRS} == set(GOLDEN)
