import numpy as np
import pytest

from jaxssl.evals import clustering


def figures(*given, **more) -> dict[str, float]:
  values = clustering.figures(*given, **more)
  return {clustering.metric("", algorithm, figure, rows).name: value for (algorithm, figure, rows), value in values.items()}


def separated(n: int = 240, k: int = 6) -> tuple[np.ndarray, np.ndarray]:
  """Returns features of k classes with distinct directions, and their labels."""
  rng = np.random.default_rng(0)
  labels = rng.permutation(np.arange(n) % k)
  return (10 * np.eye(k, 12)[labels] + rng.normal(size=(n, 12))).astype(np.float32), labels + 3


def test_agreement_is_invariant_to_renumbering():
  rng = np.random.default_rng(1)
  labels, assignment = rng.integers(0, 4, 200), rng.integers(0, 7, 200)
  renamed = clustering.agreement(rng.permutation(50)[labels], rng.permutation(50)[assignment])
  assert renamed == pytest.approx(clustering.agreement(labels, assignment))
  assert renamed["ari"] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("limit, name", [(clustering.LLOYD, "kmeans"), (0, "minibatch_kmeans")])
def test_separated_classes_are_clustered_perfectly(limit, name, monkeypatch):
  monkeypatch.setattr(clustering, "LLOYD", limit)
  features, labels = separated()
  values = figures(features, labels, seed=0)
  agreement = {f"{name}_{figure}": 1 for figure in ("ari", "nmi", "purity", "hungarian_accuracy")}
  assert list(values) == ["silhouette", "silhouette_deviation", "davies_bouldin", *agreement]
  assert values["silhouette"] > 0.5 > values["davies_bouldin"] and {k: values[k] for k in agreement} == pytest.approx(agreement)


def test_figures_are_invariant_to_the_length_of_features():
  features, labels = separated()
  expected = figures(features, labels, seed=0)
  assert figures(4 * features, labels, seed=0) == expected
  rows = np.random.default_rng(0).uniform(0.1, 9, (len(features), 1)).astype(np.float32)
  assert figures(rows * features, labels, seed=0) == pytest.approx(expected, rel=1e-4)


def test_figures_of_a_sample_are_named_and_close():
  features, labels = separated(n=3000)
  whole = figures(features, labels, seed=0)
  sampled = figures(features, labels, seed=0, rows=600)
  assert list(sampled)[:3] == ["silhouette_of_600", "silhouette_deviation_of_600", "davies_bouldin"]
  assert sampled["silhouette_of_600"] == pytest.approx(whole["silhouette"], rel=0.02)
  assert sampled["davies_bouldin"] == whole["davies_bouldin"]


@pytest.mark.parametrize("value", [0, 0.3])
def test_figures_of_collapsed_features_are_finite(value):
  features, labels = np.full((300, 37), value, np.float32), np.arange(300) % 5
  values = figures(features, labels, seed=0)
  assert all(np.isfinite(list(values.values())))
  assert values["silhouette"] == values["silhouette_deviation"] == 0
  assert "davies_bouldin" not in values  # of which 0 would be the best value
  agreement = {"kmeans_ari": 0, "kmeans_nmi": 0, "kmeans_purity": 0.2, "kmeans_hungarian_accuracy": 0.2}  # by chance
  assert {name: values[name] for name in agreement} == pytest.approx(agreement, abs=1e-12)


@pytest.mark.parametrize("labels", [np.zeros(20, int), np.arange(20)])
def test_without_groups_of_labels_there_are_no_figures(labels):
  assert figures(np.random.default_rng(0).normal(size=(20, 4)), labels, seed=0) == {}
