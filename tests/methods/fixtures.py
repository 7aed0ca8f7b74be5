"""What the tests of methods share."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxssl.config.schedules import Schedule, ScheduleConfig, TrainingLength
from jaxssl.core.types import Array, Outputs, ViewBatch
from jaxssl.methods.queue import Queue

TRAINING_LENGTH = TrainingLength(steps_per_epoch=1, epochs=10)
CONSTANT: Schedule = ScheduleConfig(base=0.99).resolve(TRAINING_LENGTH)
NO_STEP = jnp.int32(0)


def outputs(prediction, projection=None, features=None) -> Outputs:
  """Outputs [v, b, d]; what is not given is the prediction."""
  p, z, h = (jnp.asarray(prediction if x is None else x, jnp.float32) for x in (prediction, projection, features))
  return Outputs(features=h, projection=z, prediction=p)


def batch(size: int, labels=None) -> ViewBatch:
  """A batch without images."""
  label = jnp.full(size, -1, jnp.int32) if labels is None else jnp.asarray(labels)
  return ViewBatch(index=jnp.arange(size), views={}, label=label, mask=jnp.ones(size, bool))


def queue(rows) -> Queue:
  """A queue that holds these rows, none of them labeled, and writes the first next."""
  return Queue(rows=jnp.asarray(rows, jnp.float32), labels=jnp.full(len(rows), -1, jnp.int32), cursor=jnp.int32(0))


def loss_and_gradient(method, student, teacher=None, memory=None) -> tuple[Array, Outputs]:
  """The jitted loss and its gradient in the student outputs."""
  run = jax.jit(jax.value_and_grad(lambda o, t, m: method.loss(o, t, m, NO_STEP)[0]))
  return run(student, teacher, memory)


def near(found, expected, share: float = 1e-5) -> None:
  """Equal to a share of the largest expected value."""
  expected = np.asarray(expected)
  np.testing.assert_allclose(found, expected, rtol=0, atol=share * np.abs(expected).max() + 1e-12)
