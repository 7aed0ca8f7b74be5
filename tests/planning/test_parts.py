import dataclasses
import pathlib

import jax
import numpy as np
import pytest

from jaxssl import flags, parallel
from jaxssl.planning import estimate, parts
from jaxssl.planning.parts import Pictures
from jaxssl.run import Run
from jaxssl.types import UserError

CONFIGS = pathlib.Path(__file__).parent.parent.parent / "configs"
RECIPES = {
  "nnboot.py:runlocal": (),
  "isd.py:runlocal": ("--config.data.placement=host",),
  "resa.py:imagenet_vit,runlocal": ("--config.train.accumulate=2",),
}


def config_of(recipe, *words):
  return flags.parse([f"--config={CONFIGS}/{recipe}", *words])[0]


def planned(config, mesh=None):
  return parts.build(config, Pictures(count=256, size=(28, 28)), mesh or parallel.make_mesh())


def on_first_device(tree):
  return sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree))


@pytest.fixture(scope="module", params=RECIPES)
def pair(request, tmp_path_factory):
  """A run whose pictures are there, and the step planned from its config alone."""
  config = config_of(request.param, *RECIPES[request.param])
  return Run(config, tmp_path_factory.mktemp("run")), planned(config)


def test_the_step_is_the_very_one_that_trains(pair):
  run, step = pair
  assert step.state == run.state_shapes
  state = run.init()
  rows = next(iter(run.rows(state, 0, 0)))
  assert jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), (rows, run.train.store)) == jax.tree.map(
    lambda x: (x.shape, x.dtype, x.sharding), (step.rows, step.store)
  )
  assert step.trace().lower().as_text() == run._step.lower(run.state_shapes, rows, run.train.store).as_text()


def test_the_parts_are_what_the_arrays_take(pair):
  run, step = pair
  state, held = run.init(), estimate.memory_of(step)
  rows = next(iter(run.rows(state, 0, 0)))
  assert held["teacher"] == on_first_device(state.teacher) > 0
  assert held["optimiser"] == on_first_device(state.opt_state) > 0
  assert held["memory"] == on_first_device(state.memory)
  assert held["parameters"] == on_first_device((state.online, state.step)) > 0
  assert held["pictures"] == on_first_device(run.train.store)
  assert held["batch"] == on_first_device(rows) > 0
  assert held["bank"] == (0 if state.neighbors is None else on_first_device(state.neighbors.bank))
  assert sum(held.values()) == on_first_device((state, rows, run.train.store))


def test_rows_are_shared_out_and_the_rest_is_not():
  config = config_of("nnboot.py:runlocal")
  one, eight = (estimate.memory_of(planned(config, parallel.make_mesh(jax.devices()[:n]))) for n in (1, 8))
  assert one["bank"] == 8 * eight["bank"] and one["batch"] == 8 * eight["batch"]
  for part in ("parameters", "optimiser", "teacher", "memory", "pictures"):
    assert one[part] == eight[part] > 0, part


def test_mean_and_deviation_that_would_be_measured_change_nothing():
  config = config_of("nnboot.py:runlocal")
  unmeasured = dataclasses.replace(config, data=dataclasses.replace(config.data, mean=(), std=()))
  assert planned(unmeasured).state == planned(config).state


@pytest.mark.parametrize(
  "words, message",
  [
    (["--config.train.batch_size=36"], "train.batch_size=36 is not allowed; it is a multiple of the number of devices, 8"),
    (["--config.train.batch_size=512"], "train.batch_size=512 must lie between 1 and the number of training pictures, 256"),
    (
      ["--config.train.accumulate=3"],
      "train.accumulate=3 is not allowed; train.batch_size=32 is a multiple",
    ),
    (["--config.bootstrap.k=0"], "bootstrap.k=0 is not allowed"),
    (["--config.method.name=dinno"], "method.name='dinno' is no method; nearest: dino"),
  ],
)
def test_errors(words, message):
  with pytest.raises(UserError, match=message):
    planned(config_of("nnboot.py:runlocal", *words))


def test_stored_pictures_need_a_size():
  with pytest.raises(UserError, match="--size is missing"):
    parts.build(config_of("nnboot.py:runlocal"), Pictures(count=256), parallel.make_mesh())
  host = config_of("nnboot.py:runlocal", "--config.data.placement=host")
  step = parts.build(host, Pictures(count=256), parallel.make_mesh())
  assert step.store is None and np.prod(step.rows.crops["global"].shape) == 32 * 2 * 28 * 28
