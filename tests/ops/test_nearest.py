import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding

from jaxssl.ops import nearest
from jaxssl.parallel.mesh import ROWS, make_mesh


@pytest.mark.parametrize("columns", [7, 40, 1000, 1024, 4096, 50_000])  # blocks of 1, 8, 8, 64, 64 and 16
@pytest.mark.parametrize("distinct", [3, 10**6])  # many ties, and hardly any
def test_blockwise_top_k_equals_top_k(columns, distinct):
  rng = np.random.default_rng(0)
  x = rng.integers(0, distinct, (5, columns)).astype(np.float32)
  bias = np.where(rng.random((1, columns)) < 0.3, -np.inf, 0).astype(np.float32)
  for k in (1, 5, 20):
    k = min(k, columns)
    for ours, theirs in zip(nearest.blockwise_top_k(x, bias, k), jax.lax.top_k(x + bias, k), strict=True):
      np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("columns", [7, 40, 1000, 1024, 4096])
@pytest.mark.parametrize("distinct", [3, 10**6])
def test_top_k_of_rows_equals_top_k(columns, distinct):
  x = np.random.default_rng(0).integers(0, distinct, (5, columns)).astype(np.float32)
  for k in (1, 5, 7):
    np.testing.assert_array_equal(nearest.top_k_of_rows(x, k), jax.lax.top_k(x, k)[1])


def test_top_k_of_rows_gathers_nothing():
  mesh = make_mesh()
  rows = NamedSharding(mesh, ROWS)
  x = jax.ShapeDtypeStruct((64, 4096), np.float32, sharding=rows)

  def collectives(function):
    return jax.jit(function, out_shardings=rows).lower(x).compile().as_text().count("all-gather")

  assert collectives(lambda x: nearest.top_k_of_rows(x, 5)) == 0 < collectives(lambda x: jax.lax.top_k(x, 5)[1])
