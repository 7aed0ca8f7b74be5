"""A batch in parts has the loss and the gradient of the whole batch and takes less memory."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxssl.core import UserError
from jaxssl.train.setup import Experiment
from tests import flags
from tests.devices import only
from tests.test_methods import CONFIGS
from tests.train.fixtures import plain, use_encoder

pytestmark = pytest.mark.slow


class Plain(nn.Module):
  """Convolutions without batch statistics."""

  dtype: Any

  @nn.compact
  def __call__(self, x, *, train: bool):
    for i in range(3):
      x = nn.tanh(nn.Conv(8, (3, 3), dtype=self.dtype, name=f"conv{i}")(x))
    return x.mean((1, 2))


def run_in(parts: int, recipe: str, devices: int, monkeypatch) -> Experiment:
  with monkeypatch.context() as patch, only(devices):
    use_encoder(patch, Plain)
    words = ["train.batch_size=64", "data.limit=128", "model.projector.bn=False", "model.predictor.bn=False", "optim.name=sgd"]
    words += ["train.precision=float32", "optim.schedule.warmup_epochs=0", f"train.accumulate={parts}"]
    words += ["data.placement=host"]  # device crops are rounded to integers, in which two programs may differ
    config, workdir = flags.parse([f"--config={CONFIGS / recipe}:runlocal", *(f"--config.{word}" for word in words)])
    views = {name: dataclasses.replace(view, size=14) for name, view in plain(config).views.items()}
    return Experiment(dataclasses.replace(config, views=views), workdir)


@pytest.mark.parametrize("recipe, devices", [("simclr.py", 2), pytest.param("moco.py", 1, marks=pytest.mark.full)])
def test_parts_have_the_loss_and_gradient_of_the_whole_in_less_memory(recipe, devices, monkeypatch):
  ends, peaks = [], []
  for parts in (1, 4):
    run = run_in(parts, recipe, devices, monkeypatch)
    state = run.init()
    before = jax.device_get(state.student.params)
    rows = next(iter(run.batches(state, 0, 0)))
    step: Any = run.compile_step(rows)
    peaks.append(step.memory_analysis().temp_size_in_bytes)
    state, logs = step(state, rows, run.train.resident)
    change = jax.tree.map(np.subtract, jax.device_get(state.student.params), before)
    ends.append((float(logs["loss"]), float(logs["gradient_norm"]), change))
  np.testing.assert_allclose(ends[0][:2], ends[1][:2], rtol=1e-5)
  largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(ends[0][2]))
  assert largest > 0
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * largest), ends[0][2], ends[1][2])
  assert peaks[1] < 0.4 * peaks[0]


def test_parts_must_divide_the_batch(monkeypatch):
  with pytest.raises(UserError, match=r"train\.accumulate=5: out of range; expected a divisor of 64, the images per step"):
    run_in(5, "simclr.py", 1, monkeypatch)
