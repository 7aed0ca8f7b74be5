"""Every recipe's step, evaluation and export of untrained networks, and training on two devices."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl import main
from jaxssl.parallel.mesh import make_mesh
from jaxssl.train.setup import Experiment
from tests import devices, flags, tiny_run
from tests.config.test_recipes import CONFIGS, EVERY

pytestmark = pytest.mark.portable


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  return tiny_run.make(tmp_path_factory.mktemp("run") / "tiny", steps=(3,))


@pytest.mark.parametrize("recipe", EVERY)
def test_one_step_of_every_recipe_has_a_finite_loss_and_gradient(recipe, tmp_path, one_device):
  words = [f"--config={CONFIGS[0].parent / recipe},runlocal", "--config.data.placement=device", f"--workdir={tmp_path}"]
  run = Experiment(*flags.parse(words))
  state = run.init()
  state, logs = run.step(state, next(iter(run.batches(state, 0, 0))))
  assert np.isfinite(float(logs["loss"])) and np.isfinite(float(logs["gradient_norm"]))
  assert run.train_step.network.encoder.dtype == jnp.float32  # on a CPU, whatever the config's precision


def test_an_untrained_network_is_evaluated(workdir, one_device):
  assert main.main(["evaluate", "knn", "linear", "clusters", "quality", f"--workdir={workdir}"]) == 0
  values = {m["name"]: m["value"] for m in json.loads((workdir / "results.json").read_text())["measurements"]}
  assert {"knn20_cosine", "linear_lbfgs", "effective_rank"} <= set(values)
  assert all(math.isfinite(value) for value in values.values())


@pytest.mark.parametrize("name", ["flax", "onnx", "stablehlo"])
def test_a_network_is_exported(name, workdir, tmp_path, one_device):
  assert main.main(["export", f"--workdir={workdir}", f"--format={name}", f"--out={tmp_path / 'out'}"]) == 0


def test_two_devices_train_as_one(tmp_path):
  losses = []
  for count in (1, 2):
    words = [f"--config={tiny_run.ROOT}/configs/nnboot.py:runlocal", f"--workdir={tmp_path / str(count)}"]
    with devices.only(count):
      run = Experiment(*flags.parse(words))
    state = run.init()
    for rows, _ in zip(run.batches(state, 0, 0), range(2), strict=False):
      state, logs = run.step(state, rows)
    losses.append(float(logs["loss"]))
    assert len(jax.tree.leaves(state.neighbor_bank.features)[0].sharding.device_set) == count
  np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
  assert make_mesh().size == 8
