"""Compares arrays relative to their largest value, transposes torch images, and reads drop-path rates."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


def near(actual, expected, tolerance: float, zero: float = 0.0) -> None:
  """Asserts equality within `tolerance` of the largest expected value, or within `zero` if all expected values are zero.

  Zeros of a float64 reference may be 1e-16.
  """
  largest = float(np.abs(expected).max())
  np.testing.assert_allclose(np.asarray(actual), expected, rtol=0, atol=zero if largest < 1e-12 else tolerance * largest)


def nhwc(images):
  """Moves channels last."""
  return jnp.asarray(images.transpose(0, 2, 3, 1))


def drop_path_rates(module) -> dict[str, float]:
  """Returns the rate of each block of an encoder by name."""
  rates = {}

  def record(call, args, kwargs, context):
    if hasattr(context.module, "drop_path") and context.module.name:
      rates[context.module.name] = context.module.drop_path
    return call(*args, **kwargs)

  with nn.intercept_methods(record):
    jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False))
  return rates
