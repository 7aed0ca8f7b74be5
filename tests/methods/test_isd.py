import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.methods.isd import ISD
from jaxssl.methods.queue import purity
from jaxssl.ops.nearest import dot, normalize
from tests.golden_files import cases, split
from tests.methods.fixtures import CONSTANT, batch, loss_and_gradient, near, outputs, queue

ISD_CASES, PLUS = split("isd", r"isd\d+", r"plus\d+")
GOLDEN = cases("isd")


@pytest.mark.parametrize("name", ISD_CASES + PLUS)
def test_matches_the_reference_over_several_steps(name):
  case = GOLDEN[name]
  students, teachers = float(case["temp_s"]), float(case["temp_t"])
  size = len(case["queue_init"])
  method = ISD(teacher_momentum=CONSTANT, queue=size, student_temperature=students, teacher_temperature=teachers)
  state = queue(case["queue_init"])
  update_state = jax.jit(method.update_state)
  assert len(case["loss"]) > 0
  for i, (q, k) in enumerate(zip(case["q"], case["k"], strict=True)):
    student, teacher = outputs(q[None]), outputs(k[None])
    near(dot(normalize(student.prediction[0]), state.rows) / students, case["sim_q"][i])
    near(dot(normalize(teacher.projection[0]), state.rows) / teachers, case["sim_k"][i])
    loss, gradient = loss_and_gradient(method, student, teacher, state)
    np.testing.assert_allclose(loss, case["loss"][i], rtol=1e-5)
    near(gradient.prediction[0], case["grad_q"][i], 2e-5)
    if "top5_queue_index" in case:
      _, nearest = jax.lax.top_k(dot(normalize(teacher.projection[0]), state.rows), case["top5_queue_index"].shape[-1])
      np.testing.assert_array_equal(nearest, case["top5_queue_index"][i])
    state, logs = update_state(state, student, teacher, batch(len(q), case["labels"][i] if "labels" in case else None))
    near(state.rows, case["queue_after"][i], 1e-6)
    assert int(state.cursor) == case["ptr_after"][i]
    if "purity" in case:
      np.testing.assert_allclose(logs["purity"], case["purity"][i], atol=1e-6)
      np.testing.assert_array_equal(state.labels, case["queue_labels_after"][i])


def test_purity_ignores_images_without_a_label():
  state = queue(np.eye(6))
  rows, labels = jnp.arange(4).reshape(2, 2), jnp.asarray([-1, 3])
  assert float(purity(state, rows, labels)) == 0
  assert np.isnan(float(purity(state, rows, -jnp.ones(2, jnp.int32))))


@pytest.mark.parametrize("student", ["weak", "strong"])
@pytest.mark.parametrize("teacher", ["weak", "strong"])
def test_the_two_networks_never_receive_the_same_view(student, teacher):
  forward_spec = ISD(teacher_momentum=CONSTANT, student_view=student, teacher_view=teacher).forward_spec
  (student_slice,), (teacher_slice,) = forward_spec.student, forward_spec.teacher
  assert (student_slice.group, teacher_slice.group) == (student, teacher) and student_slice != teacher_slice
  assert student_slice.stop == student_slice.start + 1 and (teacher_slice.start, teacher_slice.stop) == (0, 1)
