from types import SimpleNamespace

import numpy as np
import pytest

from jaxssl.evals import feature_stats
from jaxssl.evals.features import Features


def gaussian(n: int, f: int, seed: int = 0) -> np.ndarray:
  return np.random.default_rng(seed).normal(size=(n, f)).astype(np.float32)


def test_singular_values_of_few_images_match_numpy():
  x = gaussian(8, 50)
  np.testing.assert_allclose(feature_stats.singular_values(x), np.linalg.svd(x.astype(np.float64), compute_uv=False), rtol=1e-9)


def test_the_rank_is_at_most_the_number_of_directions_in_use():
  values = feature_stats.singular_values(gaussian(3000, 8).astype(np.float64) @ gaussian(8, 40))
  assert (values[:8] > 0).all() and (values[8:] == 0).all()
  assert 5 < feature_stats.effective_rank(values) <= 8 + 1e-9
  assert feature_stats.effective_rank(values, added=1e-7) == pytest.approx(feature_stats.effective_rank(values), rel=1e-4)


@pytest.mark.parametrize("value", [0, 1, 0.3])
def test_collapsed_features_have_rank_1(value):
  figures = feature_stats.figures(np.full((50, 8), value, np.float32))
  expected = {"effective_rank": 1, "rankme": 1, "uniformity": 0, "deviation": 0}
  assert {metric.name: figure for metric, figure in figures.items()} == pytest.approx(expected, abs=1e-4)


def test_gaussian_features_are_uniform():
  figures = feature_stats.figures(gaussian(2000, 256))
  assert figures[feature_stats.DEVIATION] == pytest.approx(1, rel=0.01)
  assert figures[feature_stats.UNIFORMITY] == pytest.approx(-4, rel=0.02)


def test_figures_and_alignment_are_invariant_to_scale():
  x = gaussian(60, 7)
  assert feature_stats.figures(3.7 * x) == pytest.approx(feature_stats.figures(x), rel=1e-5)
  assert feature_stats.alignment(x, 7 * x) == pytest.approx(0, abs=1e-12)


def test_crops_of_an_image_are_alike_if_they_are_more_similar_than_those_of_others():
  x = gaussian(40, 30)
  assert feature_stats.crops_alike(x, 3 * x) == 100
  assert feature_stats.crops_alike(x, -x) == 0
  assert feature_stats.crops_alike(x, gaussian(40, 30, seed=1)) == pytest.approx(50, abs=10)


def test_collapsed_features_are_alike_as_often_as_by_chance():
  same = np.full((40, 8), 0.3, np.float32)
  assert feature_stats.crops_alike(same, same) == 50


def test_a_sample_is_drawn_from_all_images():
  x = gaussian(3000, 6)
  x[:1000, 1:] = 0  # the first images alone would seem collapsed
  assert feature_stats.figures(x, rows=1000) == pytest.approx(feature_stats.figures(x, rows=3000), rel=0.1)


def crops_of(signal: np.ndarray, noise: float, count: int = 20) -> np.ndarray:
  """Returns crops [count, n, f] of images with features `signal` [n, f] under isotropic noise."""
  return signal + noise * np.random.default_rng(1).normal(size=(count, *signal.shape))


@pytest.mark.parametrize("directions", [1, 5, 12])
def test_lidar_counts_the_directions_that_tell_images_apart(directions):
  """RankMe, which takes noise for information, does not."""
  signal = np.pad(gaussian(600, directions), ((0, 0), (0, 40 - directions)))
  x = crops_of(signal, noise=0.02)
  assert feature_stats.lidar(x) == pytest.approx(directions, rel=0.04)
  assert feature_stats.effective_rank(feature_stats.singular_values(x[0]), added=1e-7) > 1.2 * directions


def test_lidar_weights_down_what_differs_between_crops_of_an_image():
  """Three strong directions change from crop to crop; the other five are as weak, but constant."""
  shared, changing = np.pad(gaussian(400, 5), ((0, 0), (0, 3))), np.zeros((20, 400, 8))
  changing[:, :, 5:] = 30 * np.random.default_rng(2).normal(size=(20, 400, 3))
  assert feature_stats.lidar(crops_of(shared, noise=0.05) + changing) == pytest.approx(5, rel=0.02)


@pytest.mark.parametrize("value, noise", [(0, 0), (0.3, 0), (0.3, 1e-8)])
def test_lidar_of_collapsed_features_is_1(value, noise):
  assert feature_stats.lidar(np.float32(value + noise * gaussian(500, 8).reshape(10, 50, 8))) == 1


def test_lidar_is_invariant_to_linear_maps():
  x = crops_of(gaussian(300, 16), noise=0.7)
  rotation = np.linalg.qr(gaussian(16, 16, seed=3))[0]
  expected = pytest.approx(feature_stats.lidar(x), rel=2e-3)
  assert feature_stats.lidar(x @ rotation * np.linspace(0.3, 3, 16)) == expected
  assert feature_stats.lidar(1e-4 * x) == expected  # so that delta is relative


def test_lidar_equals_its_definition_for_fewer_images_than_features():
  x = crops_of(gaussian(6, 9), noise=0.5, count=4)
  x /= np.sqrt(x.reshape(-1, 9).var(0).mean())
  means = x.mean(0)
  within = sum(np.outer(v, v) for v in (x - means).reshape(-1, 9)) / (6 * 3) + 1e-4 * np.eye(9)
  values, vectors = np.linalg.eigh(within)
  root = vectors @ np.diag(values**-0.5) @ vectors.T
  shares = np.linalg.eigvalsh(root @ np.cov(means.T) @ root)
  shares = np.maximum(shares, 0) / shares.sum() + 1e-7
  assert feature_stats.lidar(x) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-5)
  assert feature_stats.lidar(x) < 5 + 1e-3


def test_crops_are_cut_of_images_of_all_classes_of_a_sorted_set(monkeypatch):
  drawn = []

  def cut(extractor, rows, count):
    drawn.append(rows)
    return np.random.default_rng(0).normal(size=(count, len(rows), 4))

  monkeypatch.setattr(feature_stats, "random_crops", cut)
  monkeypatch.setattr(feature_stats, "crop_protocol", lambda extractor: {})
  features = Features(np.random.default_rng(1).normal(size=(5000, 4)), np.arange(5000) // 1000, {})
  feature_stats.measure(SimpleNamespace(reference=features, test=None, variables={}, subject="teacher"))
  assert [len(rows) for rows in drawn] == [1024, 256]
  for rows in drawn:
    assert (np.diff(rows) > 0).all() and set(features.labels[rows]) == {*range(5)}
