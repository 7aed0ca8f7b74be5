import jax
import numpy as np
import pytest

from jaxssl.ops import nearest


@pytest.mark.parametrize("columns", [7, 40, 1000, 1024, 4096, 50_000])  # blocks of 1, 8, 8, 64, 64 and 16
@pytest.mark.parametrize("distinct", [3, 10**6])  # many ties, and hardly any
def test_blockwise_top_k_equals_top_k(columns, distinct):
  rng = np.random.default_rng(0)
  x = rng.integers(0, distinct, (5, columns)).astype(np.float32)
  x[0, : columns // 2] = -np.inf
  for k in (1, 5, 20):
    k = min(k, columns)
    for ours, theirs in zip(nearest.blockwise_top_k(x, k), jax.lax.top_k(x, k), strict=True):
      np.testing.assert_array_equal(ours, theirs)
