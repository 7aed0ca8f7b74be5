"""Batch normalization, LayerNorm and GELU."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.core import UserError
from jaxssl.models.gelu import gelu
from jaxssl.models.norm import BatchNorm, LayerNorm
from tests.models.compare import near

X = jnp.asarray(3 + 2 * np.random.default_rng(0).standard_normal((16, 3, 5, 4), np.float32))


@functools.partial(jax.jit, static_argnums=0)
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


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("mean", "deviation"), [(0, 1), (3, 2), (100, 0.1), (-1000, 0.5)])
def test_variances_are_exact_to_five_digits_from_the_first_step_on(mean, deviation, groups):
  """The mean may be large compared with the deviation, and unlike the running mean."""
  x = (mean + deviation * np.random.default_rng(1).standard_normal((64, 8, 8, 4))).astype(np.float32)
  values = np.asarray(x, np.float64).reshape(groups, -1, 4)
  _, after = train(BatchNorm(groups=groups), jnp.asarray(x), {"mean": jnp.zeros(4), "var": jnp.zeros(4)})
  np.testing.assert_allclose(after["mean"], 0.1 * values.mean(1).mean(0), rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(after["var"], 0.1 * values.var(1, ddof=1).mean(0), rtol=1e-5)


def test_a_constant_channel_has_variance_zero():
  out, after = train(BatchNorm(), jnp.full((16, 3, 3, 4), 1234.5))
  np.testing.assert_array_equal(out, 0)
  np.testing.assert_allclose(after["var"], 0.9, rtol=1e-6)


@pytest.mark.parametrize("groups", [1, 4])
def test_gradients_match_the_two_pass_formula_in_float64(groups):
  rng = np.random.default_rng(2)
  x, weights = 50 + 2 * rng.standard_normal((16, 3, 5, 4)), rng.standard_normal((16, 3, 5, 4))
  params = {"scale": rng.uniform(0.5, 2, 4), "bias": rng.standard_normal(4)}

  def one_pass(params, x):
    tree = {"params": params, "batch_stats": {"mean": jnp.zeros(4), "var": jnp.ones(4)}}
    return (BatchNorm(groups=groups).apply(tree, x, train=True, mutable=["batch_stats"])[0] * weights).sum()

  def two_passes(params, x):
    y = x.reshape(groups, -1, 4)
    y = y - y.mean(1, keepdims=True)
    y = y / jnp.sqrt(jnp.square(y).mean(1, keepdims=True) + 1e-5)
    scale, bias = (value.reshape(1, 1, 4) for value in (params["scale"], params["bias"]))
    return ((y * scale + bias).reshape(x.shape) * weights).sum()

  with jax.enable_x64():
    expected = jax.tree.map(np.asarray, jax.jit(jax.grad(two_passes, argnums=(0, 1)))(*jax.tree.map(jnp.asarray, (params, x))))
  weights = weights.astype(np.float32)
  actual = jax.jit(jax.grad(one_pass, argnums=(0, 1)))(*jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), (params, x)))
  jax.tree.map(lambda a, b: near(a, b, 1e-5), actual, expected)


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


@pytest.mark.parametrize(("mean", "deviation"), [(0, 1), (100, 0.1)])
def test_layer_norm_and_its_gradient_match_flax(mean, deviation):
  rng = np.random.default_rng(3)
  x = jnp.asarray(mean + deviation * rng.standard_normal((2, 5, 24)), jnp.float32)
  params = {"scale": jnp.asarray(rng.uniform(0.5, 2, 24), jnp.float32), "bias": jnp.arange(24.0)}
  cotangent = jnp.asarray(rng.standard_normal(x.shape), jnp.float32)

  def run(module):
    out, pull = jax.vjp(lambda params, x: module.apply({"params": params}, x), params, x)
    return out, pull(cotangent)

  actual, expected = run(LayerNorm()), run(nn.LayerNorm(1e-6, use_fast_variance=False))
  jax.tree.map(lambda a, b: near(a, b, 1e-4 if mean else 1e-6), actual, expected)
  half = LayerNorm(jnp.bfloat16).apply({"params": params}, x)
  np.testing.assert_array_equal(half, actual[0].astype(jnp.bfloat16))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_gelu_and_its_gradient_match_jax(dtype):
  x = jnp.linspace(-12, 12, 4801).astype(dtype)
  exact = functools.partial(nn.gelu, approximate=False)
  both = [jax.vmap(jax.value_and_grad(function))(x.astype(jnp.float32)) for function in (exact, gelu)]
  jax.tree.map(lambda a, b: near(a, b, 1e-6), *both)
  for actual, expected in zip(jax.vmap(jax.value_and_grad(gelu))(x), both[0], strict=True):
    assert actual.dtype == dtype
    near(actual.astype(jnp.float32), expected, 4e-3 if dtype == jnp.bfloat16 else 1e-6)
