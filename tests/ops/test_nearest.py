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


@pytest.mark.parametrize("devices, rows, chunk", [(1, 1, 4), (8, 1, 4), (1, 3, 1), (1, 11, 4)])  # rows of each device
def test_search_with_few_usable_rows_fills_up_with_missing_ones(devices, rows, chunk):
  rng, k = np.random.default_rng(rows), 5
  bank = rng.normal(size=(rows * devices, 3)).astype(np.float32)
  usable = np.arange(len(bank)) % 3 != 1
  queries = rng.normal(size=(4, 3)).astype(np.float32)
  values, numbers = nearest.search(make_mesh(jax.devices()[:devices]), bank, usable, queries, k, chunk)
  products = np.where(usable, queries @ bank.T, -np.inf)
  expected = np.argsort(-products, axis=1, kind="stable")[:, :k]
  found = min(k, usable.sum())
  np.testing.assert_array_equal(numbers[:, :found], expected[:, :found])
  np.testing.assert_allclose(values[:, :found], np.take_along_axis(products, expected, 1)[:, :found], rtol=1e-5, atol=1e-6)
  assert (np.asarray(numbers[:, found:]) == -1).all() and np.isneginf(values[:, found:]).all()
