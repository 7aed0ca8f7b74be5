"""How near is near."""

import numpy as np


def near(actual, expected, tolerance: float, zero: float = 0.0) -> None:
  """Asserts equality up to `tolerance` of the largest expected value; up to `zero` where the expected values are zeros.

  A float64 reference leaves 1e-16 where the mathematics gives zero.
  """
  largest = float(np.abs(expected).max())
  np.testing.assert_allclose(np.asarray(actual), expected, rtol=0, atol=zero if largest < 1e-12 else tolerance * largest)
