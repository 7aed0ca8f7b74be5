import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.config.schedules import ScheduleConfig, TrainingLength
from jaxssl.methods.dino import DINO, Center
from tests.golden_files import cases, split
from tests.methods.fixtures import CONSTANT, batch, loss_and_gradient, near, outputs

(LOSSES,) = split("dino_loss", r"(adasim|dino)\d+")
GOLDEN = cases("dino_loss")


@pytest.mark.parametrize("name", LOSSES)
def test_loss_gradient_and_center_match_the_reference(name):
  case = GOLDEN[name]
  training_length = TrainingLength(steps_per_epoch=1, epochs=int(case["epochs"]))
  temperature = ScheduleConfig(
    start=float(case["warmup_teacher_temp"]),
    base=float(case["final_teacher_temp"]),
    warmup_epochs=int(case["warmup_teacher_temp_epochs"]),
    by_epoch=True,
  )
  method = DINO(
    teacher_momentum=CONSTANT,
    teacher_temperature=temperature,
    student_temperature=float(case["student_temp"]),
    center_momentum=float(case["center_momentum"]),
  )
  schedule = temperature.resolve(training_length)
  np.testing.assert_allclose(schedule(np.arange(training_length.epochs)), case["teacher_temp_schedule"], rtol=1e-12)
  state = Center(center=jnp.asarray(case["center_before"][0], jnp.float32))
  assert len(case["loss"]) > 0
  for i, (student, teacher) in enumerate(zip(case["student"], case["teacher"], strict=True)):
    student, teacher = outputs(student), outputs(teacher)
    loss, gradient = loss_and_gradient(method, student, teacher, state, teacher_temperature=schedule(case["epoch"][i]))
    np.testing.assert_allclose(loss, case["loss"][i], rtol=1e-5)
    near(gradient.prediction, case["grad_student"][i], 1e-4)
    state, _ = method.update_state(state, student, teacher, batch(1))
    np.testing.assert_allclose(state.center, case["center_after"][i], rtol=1e-5, atol=1e-6)
