"""Batch normalization."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.core import UserError
from jaxssl.models.norm import BatchNorm

X = jnp.asarray(3 + 2 * np.random.default_rng(0).standard_normal((16, 3, 5, 4), np.float32))


def train(module: BatchNorm, x, stats=None):
  made = module.init(jax.random.key(0), x, train=False)
  tree = {"params": made.get("params", {}), "batch_stats": stats or made["batch_stats"]}
  out, changed = module.apply(tree, x, train=True, mutable=["batch_stats"])
  return out, changed["batch_stats"]


def test_running_statistics_take_the_unbiased_variance():
  before = {"mean": jnp.arange(4.0), "var": 1 + jnp.arange(4.0)}
  out, after = train(BatchNorm(), X, before)
  values = np.asarray(X, np.float64).reshape(-1, 4)
  np.testing.assert_allclose(after["mean"], 0.9 * before["mean"] + 0.1 * values.mean(0), rtol=1e-5)
  np.testing.assert_allclose(after["var"], 0.9 * before["var"] + 0.1 * values.var(0, ddof=1), rtol=1e-5)
  expected = (values - values.mean(0)) / np.sqrt(values.var(0) + 1e-5)
  np.testing.assert_allclose(out.reshape(-1, 4), expected, atol=1e-5)


def test_a_large_mean_does_not_reduce_precision():
  out, after = train(BatchNorm(), 1000 + jnp.round(X * 64) / 64)
  reference, _ = train(BatchNorm(), jnp.round(X * 64) / 64)
  np.testing.assert_allclose(out, reference, atol=1e-3)


@pytest.mark.parametrize("groups", [2, 4, 8])
def test_groups_are_normalized_separately(groups):
  out, after = train(BatchNorm(groups=groups), X)
  alone = [train(BatchNorm(), part) for part in jnp.split(X, groups)]
  np.testing.assert_allclose(out, jnp.concatenate([o for o, _ in alone]), atol=1e-5)
  for kind in ("mean", "var"):
    np.testing.assert_allclose(after[kind], np.mean([stats[kind] for _, stats in alone], axis=0), rtol=1e-5)


def test_half_precision_keeps_float32_statistics():
  out, after = train(BatchNorm(dtype=jnp.bfloat16), X.astype(jnp.bfloat16))
  full, expected = train(BatchNorm(), X.astype(jnp.bfloat16).astype(jnp.float32))
  assert out.dtype == jnp.bfloat16
  np.testing.assert_array_equal(out, full.astype(jnp.bfloat16))
  jax.tree.map(np.testing.assert_array_equal, after, expected)


def test_impossible_groups_are_errors():
  with pytest.raises(UserError, match="model.bn_groups=3: does not divide a batch of 16 rows"):
    train(BatchNorm(groups=3), X)
  with pytest.raises(UserError, match="two values per channel"):
    train(BatchNorm(groups=16), X[:, 0, 0])
