import numpy as np
import pytest

from jaxssl.evals import quality


def gaussian(n: int, f: int, seed: int = 0) -> np.ndarray:
  return np.random.default_rng(seed).normal(size=(n, f)).astype(np.float32)


@pytest.mark.parametrize("shape", [(50, 8), (8, 50), (20, 20)])
def test_singular_values(shape):
  x = gaussian(*shape)
  np.testing.assert_allclose(quality.singular_values(x), np.linalg.svd(x.astype(np.float64), compute_uv=False), rtol=1e-9)


def test_directions_that_are_not_used_are_zero():
  x = gaussian(100, 3).astype(np.float64) @ gaussian(3, 40)
  assert (quality.singular_values(x)[3:] == 0).all()
  assert quality.effective_rank(quality.singular_values(x)) <= 3


def test_ranks_are_between_one_and_all_dimensions():
  values = quality.singular_values(gaussian(3000, 8))
  assert 7.5 < quality.effective_rank(values) <= 8 + 1e-9
  assert quality.rankme(values) == pytest.approx(quality.effective_rank(values), rel=1e-4)


@pytest.mark.parametrize("value", [0, 1, 0.3])
def test_collapsed_features(value):
  found = quality.figures(np.full((50, 8), value, np.float32))
  assert found == pytest.approx({"effective_rank": 1, "rankme": 1, "uniformity": 0, "deviation": 0}, abs=1e-4)


def test_features_spread_evenly():
  found = quality.figures(gaussian(2000, 256))
  assert found["deviation"] == pytest.approx(1, rel=0.01) and found["uniformity"] == pytest.approx(-4, rel=0.02)


def test_uniformity_of_every_pair():
  x = quality.unit(gaussian(9, 4))
  pairs = [np.exp(-3 * ((x[i] - x[j]) ** 2).sum()) for i in range(9) for j in range(i)]
  assert quality.uniformity(x, t=3) == pytest.approx(np.log(np.mean(pairs)))


def test_alignment():
  x = gaussian(30, 5)
  assert quality.alignment(x, 7 * x) == pytest.approx(0, abs=1e-12)
  assert quality.alignment(x, -x) == pytest.approx(4)
  assert quality.alignment(x, -x, power=1) == pytest.approx(2)


def test_scale_does_not_count():
  x = gaussian(60, 7)
  assert quality.figures(3.7 * x) == pytest.approx(quality.figures(x), rel=1e-5)


def test_a_sample_is_drawn_from_everywhere():
  x = gaussian(3000, 6)
  x[:1000, 1:] = 0  # the first pictures alone would seem collapsed
  assert quality.figures(x, rows=1000) == pytest.approx(quality.figures(x, rows=3000), rel=0.1)
