"""Compares arrays relative to their largest value, and transposes torch images."""

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
