import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.config.schedules import ScheduleConfig, TrainingLength
from jaxssl.core.types import Outputs, ViewBatch
from jaxssl.methods.dino import DINO, Center
from tests.golden_files import cases, split

(LOSSES,) = split("dino_loss", r"(adasim|dino)\d+")
GOLDEN = cases("dino_loss")


def outputs(logits) -> Outputs:
  logits = jnp.asarray(logits, jnp.float32)
  return Outputs(features=logits, projection=logits, prediction=logits)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_gradient_and_center(name):
  case = GOLDEN[name]
  training_length = TrainingLength(steps_per_epoch=1, epochs=int(case["epochs"]))
  temperature = ScheduleConfig(
    start=float(case["warmup_teacher_temp"]),
    base=float(case["final_teacher_temp"]),
    warmup_epochs=int(case["warmup_teacher_temp_epochs"]),
    by_epoch=True,
  )
  method = DINO(
    teacher_momentum=ScheduleConfig(),
    teacher_temperature=temperature,
    student_temperature=float(case["student_temp"]),
    center_momentum=float(case["center_momentum"]),
  )
  schedule = temperature.resolve(training_length)
  np.testing.assert_allclose(schedule(np.arange(training_length.epochs)), case["teacher_temp_schedule"], rtol=1e-12)
  state = Center(center=jnp.asarray(case["center_before"][0], jnp.float32))
  value_and_gradient = jax.jit(
    jax.value_and_grad(
      lambda s, t, state, epoch: method.loss(outputs(s), outputs(t), state, {"teacher_temperature": schedule(epoch)})[0]
    )
  )
  batch = ViewBatch(index=jnp.arange(1), views={}, label=jnp.arange(1))
  assert len(case["loss"]) > 0
  for i, (student, teacher) in enumerate(zip(case["student"], case["teacher"], strict=True)):
    loss, gradient = value_and_gradient(jnp.asarray(student), jnp.asarray(teacher), state, jnp.int32(case["epoch"][i]))
    np.testing.assert_allclose(loss, case["loss"][i], rtol=1e-5)
    np.testing.assert_allclose(gradient, case["grad_student"][i], atol=1e-4 * np.abs(case["grad_student"][i]).max())
    state, _ = method.update_state(state, outputs(student), outputs(teacher), batch)
    np.testing.assert_allclose(state.center, case["center_after"][i], rtol=1e-5, atol=1e-6)
