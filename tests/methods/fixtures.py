"""Outputs, queues, gradients and comparisons for the tests of methods."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxssl.config.schedules import ScheduleConfig
from jaxssl.core.types import Array, Outputs, ViewBatch
from jaxssl.methods.queue import Queue

CONSTANT = ScheduleConfig(base=0.99)


def outputs(prediction, projection=None, features=None) -> Outputs:
  """Returns outputs [v, b, d]; projection and features default to the prediction."""
  p, z, h = (jnp.asarray(prediction if x is None else x, jnp.float32) for x in (prediction, projection, features))
  return Outputs(features=h, projection=z, prediction=p)


def batch(size: int, labels=None) -> ViewBatch:
  """Returns a batch without images."""
  label = jnp.full(size, -1, jnp.int32) if labels is None else jnp.asarray(labels)
  return ViewBatch(index=jnp.arange(size), views={}, label=label)


def queue(rows) -> Queue:
  """Returns a queue of these rows without labels, whose cursor is at the first row."""
  return Queue(rows=jnp.asarray(rows, jnp.float32), labels=jnp.full(len(rows), -1, jnp.int32), cursor=jnp.int32(0))


def loss_and_gradient(method, student, teacher=None, state=None, **scheduled) -> tuple[Array, Outputs]:
  """Returns the jitted loss and its gradient with respect to the student outputs."""
  run = jax.jit(jax.value_and_grad(lambda student, teacher, state: method.loss(student, teacher, state, scheduled)[0]))
  return run(student, teacher, state)


def near(actual, expected, share: float = 1e-5) -> None:
  """Asserts equality within a share of the largest expected value."""
  expected = np.asarray(expected)
  np.testing.assert_allclose(actual, expected, rtol=0, atol=share * np.abs(expected).max() + 1e-12)
