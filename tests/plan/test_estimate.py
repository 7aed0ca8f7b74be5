import dataclasses
import pathlib

import jax
import numpy as np
import pytest

from jaxssl.core import UserError
from jaxssl.parallel.mesh import make_mesh
from jaxssl.plan import estimate
from jaxssl.plan.dataset_sizes import DatasetSpec
from jaxssl.train.setup import Experiment
from tests import flags
from tests.tiny_run import TINY

pytestmark = pytest.mark.slow

CONFIGS = pathlib.Path(__file__).parent.parent.parent / "configs"
RECIPES = {
  "nnboot.py:runlocal": TINY,
  "isd.py:runlocal": ("--config.data.placement=host", "--config.views.strong.jitter_p=0"),
  "resa.py:imagenet_vit,runlocal": ("--config.train.accumulate=2", "--config.model.depth=1"),
}


def config_of(recipe, *words):
  return flags.parse([f"--config={CONFIGS}/{recipe}", *words])[0]


def planned(config, mesh=None):
  return estimate.build(config, DatasetSpec(count=256, side=28), mesh or make_mesh())


def bytes_on_first_device(tree):
  return sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree))


@pytest.fixture(
  scope="module", params=[pytest.param(name, marks=pytest.mark.full if name.startswith("isd") else ()) for name in RECIPES]
)
def pair(request, tmp_path_factory):
  """Returns an experiment, its first state and batch, and the step planned from its config alone."""
  config = config_of(request.param, *RECIPES[request.param])
  run = Experiment(config, tmp_path_factory.mktemp("run"))
  state = run.init()
  return run, state, next(iter(run.batches(state, 0, 0))), planned(config)


def test_the_planned_step_is_the_one_that_trains(pair):
  run, _, batch, step = pair
  assert step.state == run.state_shapes
  assert jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), (batch, run.train.resident)) == jax.tree.map(
    lambda x: (x.shape, x.dtype, x.sharding), (step.batch, step.resident)
  )
  assert step.trace().lower().as_text() == run._step.lower(run.state_shapes, batch, run.train.resident).as_text()


def test_memory_parts_equal_the_bytes_of_the_arrays(pair):
  run, state, batch, step = pair
  assert estimate.memory_of(step) == {
    "teacher": bytes_on_first_device(state.teacher),
    "optimizer": bytes_on_first_device(state.opt_state),
    "method_state": bytes_on_first_device(state.method_state),
    "parameters": bytes_on_first_device((state.student, state.step)),
    "images": bytes_on_first_device(run.train.resident),
    "batch": bytes_on_first_device(batch),
    "bank": bytes_on_first_device(state.neighbor_bank and state.neighbor_bank.features),
    "votes": bytes_on_first_device(state.neighbor_bank and dataclasses.replace(state.neighbor_bank, features=None)),
  }


def test_bank_and_batch_are_sharded_and_the_rest_is_replicated():
  config = config_of("nnboot.py:runlocal")
  single, sharded = (estimate.memory_of(planned(config, make_mesh(jax.devices()[:n]))) for n in (1, 8))
  assert single["bank"] == 8 * sharded["bank"] and single["batch"] == 8 * sharded["batch"]
  for part in ("parameters", "optimizer", "teacher", "method_state", "images"):
    assert single[part] == sharded[part] > 0, part


def test_unmeasured_mean_and_std_do_not_change_the_state():
  config = config_of("nnboot.py:runlocal")
  unmeasured = dataclasses.replace(config, data=dataclasses.replace(config.data, mean=(), std=()))
  assert planned(unmeasured).state == planned(config).state


@pytest.mark.parametrize(
  "words, message",
  [
    (
      ["--config.train.batch_size=512", "--config.train.lower_to_fit=false"],
      "train.batch_size=512: the training set has 256 images; expected 1 to 256",
    ),
    (["--config.train.accumulate=3"], "train.accumulate=3: out of range; expected a divisor of"),
    (["--config.bootstrap.k=0"], "bootstrap.k=0: out of range; expected at least 1"),
    (["--config.method.name=dinno"], "method.name='dinno': unknown; expected barlow, .*; did you mean dino\\?"),
  ],
)
def test_errors_are_those_of_training(words, message):
  with pytest.raises(UserError, match=message):
    planned(config_of("nnboot.py:runlocal", *words))


def test_resident_images_of_unknown_size_have_that_of_images_that_differ():
  step = estimate.build(config_of("nnboot.py:runlocal"), DatasetSpec(count=256), make_mesh())
  assert step.resident.shape == (256, 35, 35, step.train_step.config.data.channels)  # 5/4 of 28
  host = config_of("nnboot.py:runlocal", "--config.data.placement=host")
  step = estimate.build(host, DatasetSpec(count=256), make_mesh())
  assert step.resident is None and np.prod(step.batch.crops["global"].shape) == 32 * 2 * 28 * 28
