import jax
import numpy as np
import pytest

from jaxssl.evals import feature_stats
from jaxssl.ops.collapse import collapse_metrics

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
