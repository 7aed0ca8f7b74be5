import jax
import numpy as np
import pytest

from jaxssl.evals import feature_stats
from jaxssl.ops.collapse import SKETCH, collapse_metrics

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(64, 16), (16, 64), (5, 300)])
def test_deviation_and_rank_match_their_definition(shape):
  x = RNG.normal(0.3, 1, shape).astype(np.float32)
  deviation, rank = jax.jit(collapse_metrics)(x)
  unit = x / np.linalg.norm(x, axis=1, keepdims=True)
  values = np.linalg.eigvalsh(np.cov(unit.T.astype(np.float64)))
  assert float(rank) == pytest.approx(values.sum() ** 2 / (values**2).sum(), rel=1e-4)
  assert float(deviation) == pytest.approx(feature_stats.deviation(x), rel=1e-4)


def test_collapsed_features_have_rank_1():
  same = np.ones((8, 4), np.float32)
  assert [float(figure) for figure in collapse_metrics(same)] == pytest.approx([0, 1], abs=1e-6)
  line = np.array([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]] * 8, np.float32)
  assert float(collapse_metrics(line)[1]) == pytest.approx(1)
  assert all(np.isfinite(float(figure)) for figure in collapse_metrics(np.zeros((8, 4), np.float32)))


def test_collapse_metrics_have_no_gradient_and_do_not_depend_on_the_scale():
  x = RNG.normal(size=(20, 6)).astype(np.float32)
  assert not np.any(jax.grad(lambda x: sum(collapse_metrics(x)))(x))
  for factor in (1e-3, 7.0):
    np.testing.assert_allclose(collapse_metrics(x), collapse_metrics(factor * x), rtol=1e-4)


def directions(rank: float, rows: int, width: int, seed: int) -> np.ndarray:
  """Returns unit rows whose covariance has eigenvalues that fall by a constant factor, as fast as the rank asks for."""
  rng = np.random.default_rng(seed)
  factor = (rank - 1) / (rank + 1)  # of a geometric series with that participation ratio
  values = factor ** np.arange(min(rows, 200))
  x = rng.normal(size=(rows, len(values))) * np.sqrt(values)[None]
  x = x @ rng.normal(size=(len(values), width))
  return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def exact_rank(x: np.ndarray) -> float:
  centered = x - x.mean(0)
  products = centered.astype(np.float64) @ centered.T.astype(np.float64)
  return float(np.trace(products) ** 2 / np.sum(products**2))


@pytest.mark.parametrize("width", [2048, 10_000])
@pytest.mark.parametrize("rank", [1.2, 1.5, 1.8, 4.0, 20.0])
def test_the_rank_of_wide_outputs_is_within_5_percent(rank, width):
  for seed in range(3):
    x = directions(rank, 128, width, seed)
    deviation, estimated = (float(value) for value in collapse_metrics(x))
    assert estimated == pytest.approx(exact_rank(x), rel=0.05)
    assert deviation == pytest.approx(feature_stats.deviation(x), rel=1e-3)


def test_the_rank_of_wide_outputs_reaches_its_ends():
  line = np.outer(np.linspace(-1, 1, 32), RNG.normal(size=4 * SKETCH)).astype(np.float32)
  assert float(collapse_metrics(line)[1]) == pytest.approx(1, abs=1e-4)
  assert [float(value) for value in collapse_metrics(np.ones((8, 4 * SKETCH)))] == pytest.approx([0, 1], abs=1e-6)
  assert np.isfinite(collapse_metrics(np.zeros((8, SKETCH + 1), np.float32))).all()
  even = RNG.normal(size=(64, 8 * SKETCH)).astype(np.float32)
  assert 50 < float(collapse_metrics(even)[1]) <= 63
  assert float(collapse_metrics(even[:1])[1]) == 1
