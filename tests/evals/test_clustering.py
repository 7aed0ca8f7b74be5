import numpy as np
import pytest

from jaxssl.evals import clustering


def figures(*given, **more) -> dict[str, float]:
  found = clustering.figures(*given, **more)
  return {clustering.metric("", algorithm, figure, rows).name: value for (algorithm, figure, rows), value in found.items()}


def separated(n: int = 240, k: int = 6) -> tuple[np.ndarray, np.ndarray]:
  """Images of k classes, far from each other in direction."""
  rng = np.random.default_rng(0)
  labels = rng.permutation(np.arange(n) % k)
  return (10 * np.eye(k, 12)[labels] + rng.normal(size=(n, 12))).astype(np.float32), labels + 3


def test_numbers_of_clusters_and_classes_mean_nothing():
  rng = np.random.default_rng(1)
  labels, assignment = rng.integers(0, 4, 200), rng.integers(0, 7, 200)
  renamed = clustering.agreement(rng.permutation(50)[labels], rng.permutation(50)[assignment])
  assert renamed == pytest.approx(clustering.agreement(labels, assignment))
  assert renamed["ari"] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("labels", [np.arange(100) % 7, np.zeros(9, int), np.arange(12), np.zeros(1, int)])
def test_perfect_clusters(labels):
  found = clustering.agreement(labels, (labels + 3) % 7 if labels.max() < 7 else labels[::-1])
  assert found == pytest.approx(dict.fromkeys(("ari", "nmi", "purity", "hungarian_accuracy"), 1))


def test_one_cluster_tells_nothing():
  found = clustering.agreement(np.arange(40) % 4, np.zeros(40))
  assert found == pytest.approx({"ari": 0, "nmi": 0, "purity": 0.25, "hungarian_accuracy": 0.25}, abs=1e-12)


@pytest.mark.parametrize("limit, name", [(clustering.LLOYD, "kmeans"), (0, "minibatch_kmeans")])
def test_figures_of_separated_classes(limit, name, monkeypatch):
  monkeypatch.setattr(clustering, "LLOYD", limit)
  features, labels = separated()
  found = figures(features, labels, seed=0)
  agreement = {f"{name}_{figure}": 1 for figure in ("ari", "nmi", "purity", "hungarian_accuracy")}
  assert list(found) == ["silhouette", "silhouette_deviation", "davies_bouldin", *agreement]
  assert found["silhouette"] > 0.5 > found["davies_bouldin"] and {k: found[k] for k in agreement} == pytest.approx(agreement)


def test_length_of_features_does_not_count():
  features, labels = separated()
  one = figures(features, labels, seed=0)
  assert figures(4 * features, labels, seed=0) == one
  rows = np.random.default_rng(0).uniform(0.1, 9, (len(features), 1)).astype(np.float32)
  assert figures(rows * features, labels, seed=0) == pytest.approx(one, rel=1e-4)


def test_a_sample_says_so_and_is_near():
  features, labels = separated(n=3000)
  one = figures(features, labels, seed=0)
  some = figures(features, labels, seed=0, rows=600)
  assert list(some)[:3] == ["silhouette_of_600", "silhouette_deviation_of_600", "davies_bouldin"]
  assert some["silhouette_of_600"] == pytest.approx(one["silhouette"], rel=0.02)
  assert some["davies_bouldin"] == one["davies_bouldin"]


@pytest.mark.parametrize("value", [0, 0.3])
def test_collapsed_features(value):
  features, labels = np.full((300, 37), value, np.float32), np.arange(300) % 5
  found = figures(features, labels, seed=0)
  assert all(np.isfinite(list(found.values())))
  assert found["silhouette"] == found["silhouette_deviation"] == found["davies_bouldin"] == 0
  assert found["kmeans_ari"] == pytest.approx(0) and found["kmeans_purity"] == pytest.approx(0.2)


@pytest.mark.parametrize("labels", [np.zeros(20, int), np.arange(20)])
def test_nothing_to_tell(labels):
  assert figures(np.random.default_rng(0).normal(size=(20, 4)), labels, seed=0) == {}
