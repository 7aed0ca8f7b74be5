import jax
import numpy as np
import pytest

from jaxssl.augment import presets
from jaxssl.config.schema import ViewConfig
from jaxssl.losses.sinkhorn import assign
from jaxssl.methods.base import ViewSlice
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


def test_small_views_follow_the_assignment_of_the_large_ones():
  """The student's views are the weak one, a strong one and three small ones; the teacher has no small ones."""
  rng, rows, temperature = np.random.default_rng(0), 4, 0.4
  emb, h = rng.standard_normal((5, rows, 6)), rng.standard_normal((5, rows, 7))
  emb_m, h_m = rng.standard_normal((2, rows, 6)), rng.standard_normal((2, rows, 7))

  def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)

  q = np.exp(unit(h[0]) @ unit(h_m[0]).T / 0.05)
  for _ in range(3):
    q = q / q.sum(0, keepdims=True)  # each key
    q = q / q.sum(1, keepdims=True)  # each query
  losses = []
  for query in range(5):
    for key in set(range(2)) - {query}:
      logits = unit(emb[query]) @ unit(emb_m[key]).T / temperature
      log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
      losses.append(-(q * log_p).sum(1).mean())
  assert len(losses) == 2 + 3 * 2
  student, teacher = outputs(emb, features=h), outputs(emb_m, features=h_m)
  loss, gradient = loss_and_gradient(ReSA(teacher_momentum=CONSTANT, temperature=temperature), student, teacher)
  np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-5)
  assert all(gradient.prediction[view].any() for view in range(5))


def test_the_student_alone_sees_small_views_if_the_config_makes_them():
  spec = ReSA.forward_spec
  assert spec.optional == (ViewSlice("local"),)
  assert {views.group for views in (*spec.student, *spec.teacher)} == {"weak", "strong"}
  plain, views = presets.resa(224), presets.resa(224, locals=6)
  assert {name: views[name] for name in plain} == plain and set(views) == {"weak", "strong", "local"}
  local = ViewConfig(**views["local"])
  assert (local.count, local.size, local.crop_scale, local.solarize_p, local.partner) == (6, 96, (0.05, 0.2), (0.0,), (False,))
  assert (local.jitter, local.blur_p, local.interpolation) == (views["strong"]["jitter"], (0.5,), "bicubic")
