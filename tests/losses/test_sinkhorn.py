import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.losses.sinkhorn import assign
from tests.golden_files import cases, split

SINKHORN, _ = split("resa", r"sk\d+", r"loss\d+b?")
GOLDEN = cases("resa")


@pytest.mark.parametrize("name", [name for name in SINKHORN if GOLDEN[name]["n_iterations"] > 0])
def test_matches_the_reference(name):
  case = GOLDEN[name]
  assignment = jax.jit(assign, static_argnums=2)(jnp.asarray(case["scores"]), float(case["temp"]), int(case["n_iterations"]))
  # The reference, in float64, overflows on some scores; its log-domain twin is stored beside it.
  np.testing.assert_allclose(assignment, case["q_log"], atol=1e-5 * np.abs(case["q_log"]).max())
  if case["reference_finite"]:
    np.testing.assert_allclose(assignment, case["q"], atol=1e-5 * np.abs(case["q"]).max())


def test_rows_sum_to_one_and_columns_share_equally():
  scores = jax.random.normal(jax.random.key(0), (32, 8))
  assignment = assign(scores, 0.5, 50)
  np.testing.assert_allclose(assignment.sum(1), np.ones(32), rtol=1e-5)
  np.testing.assert_allclose(assignment.sum(0), np.full(8, 4.0), rtol=1e-3)


def test_the_assignment_has_no_gradient():
  gradient = jax.grad(lambda s: (assign(s, 0.05, 3) * s).sum())(jnp.eye(4))
  np.testing.assert_array_equal(gradient, assign(jnp.eye(4), 0.05, 3))
