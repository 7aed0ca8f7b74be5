import jax
import numpy as np
import pytest

from jaxssl.losses.sinkhorn import assign
from jaxssl.methods.resa import ASSIGNMENT_TEMPERATURE, SINKHORN_ITERATIONS, ReSA
from jaxssl.ops.nearest import dot, normalize
from tests.golden_files import cases, split
from tests.methods.fixtures import CONSTANT, loss_and_gradient, near, outputs

_, LOSSES = split("resa", r"sk\d+", r"loss\d+b?")
GOLDEN = cases("resa")


@pytest.mark.parametrize("name", LOSSES)
def test_matches_the_reference(name):
  case = GOLDEN[name]
  scores = dot(normalize(case["h"]), normalize(case["h_m"]))
  near(jax.jit(assign, static_argnums=(1, 2))(scores, ASSIGNMENT_TEMPERATURE, SINKHORN_ITERATIONS), case["assign"])
  student = outputs(case["emb"], features=np.stack([case["h"]] * len(case["emb"])))
  teacher = outputs(case["emb_m"], features=np.stack([case["h_m"]] * len(case["emb_m"])))
  loss, gradient = loss_and_gradient(ReSA(teacher_momentum=CONSTANT, temperature=float(case["temp"])), student, teacher)
  np.testing.assert_allclose(loss, case["loss"], rtol=1e-5)
  near(gradient.prediction, case["grad_emb"], 2e-5)
  np.testing.assert_array_equal(gradient.features, np.zeros_like(student.features))  # the assignment has no gradient
