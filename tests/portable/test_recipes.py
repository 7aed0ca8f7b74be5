"""One compiled training step of every recipe, in the precision of its config."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.config import flags
from jaxssl.train.setup import Experiment
from tests.config.test_recipes import CONFIGS, EVERY

pytestmark = pytest.mark.full


@pytest.mark.parametrize("recipe", EVERY)
def test_one_step_has_a_finite_loss_and_gradient(recipe, tmp_path, one_device):
  words = [f"--config={CONFIGS[0].parent / recipe},runlocal", "--config.data.placement=device", f"--workdir={tmp_path}"]
  run = Experiment(*flags.parse(words))
  state = run.init()
  state, logs = run.step(state, next(iter(run.batches(state, 0, 0))))
  assert np.isfinite(float(logs["loss"])) and np.isfinite(float(logs["gradient_norm"]))
  assert run.train_step.network.encoder.dtype == jnp.float32  # on a CPU
