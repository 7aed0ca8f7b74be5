"""Tests that every method must pass; to test a new method, add a row to ROWS."""

import contextlib
import dataclasses
import functools
import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.core.types import Outputs, TrainState, ViewBatch
from jaxssl.methods import METHODS
from jaxssl.parallel import mesh
from jaxssl.train import build_step
from jaxssl.train.setup import Experiment
from jaxssl.train.step import TrainStep
from jaxssl.workdir.checkpoint import Checkpoints
from tests import flags, half_precision
from tests.train.fixtures import Encoder, plain, use_encoder

pytestmark = pytest.mark.slow

CONFIGS = pathlib.Path(__file__).parent.parent / "configs"
# The recipe's temperatures, 0.02, amplify differences of rounding between devices fifty times.
ISD = "isd.py --config.method.student_temperature=0.1 --config.method.teacher_temperature=0.1"
ROWS = {  # method: its recipes, with flags after a space
  "barlow": ["barlow.py"],
  "byol": ["byol.py"],
  "dino": ["dino.py", "nnboot.py:cifar10"],
  "isd": [ISD],
  "mocov2": ["moco.py"],
  "mocov3": ["moco.py:v3"],
  "msf": ["msf.py --config.model.bn_groups=4"],  # the teacher is shuffled
  "nnclr": ["nnclr.py"],
  "resa": ["resa.py"],
  "simclr": ["simclr.py"],
  "simsiam": ["simsiam.py"],
  "swav": ["swav.py"],
  "vicreg": ["vicreg.py"],
}
RECIPES = [recipe for recipes in ROWS.values() for recipe in recipes]
SMALL = {
  "data.limit": 64,
  "train.batch_size": 16,
  "train.epochs": 4,
  "bootstrap.window": 1,
  "optim.schedule.warmup_epochs": 0,
}
STEPS_PER_EPOCH = 4
GROUPED = {r: pytest.param(r, marks=pytest.mark.xdist_group(r)) for r in RECIPES}  # share compiled functions
EACH = pytest.mark.parametrize("recipe", GROUPED.values())
# Losses and states of every kind; a bank, and statistics of the whole batch, are where devices could differ most.
KINDS = [GROUPED["nnboot.py:cifar10"], GROUPED["vicreg.py"]]
KINDS += [pytest.param(name, marks=pytest.mark.full) for name in (ISD, "resa.py", "simclr.py", "swav.py")]


def test_every_method_has_a_row():
  assert set(ROWS) == set(METHODS)


def with_partner(config):
  """Returns the config with the second global view cut from the partner if no view is."""
  views = dict(config.views)
  if not any(any(group.partner) for group in views.values()):
    views["global"] = dataclasses.replace(views["global"], partner=(False, True))
  return dataclasses.replace(config, views=views)


@functools.cache
def run_of(recipe: str, devices: int = 1, precision: str = "float32", split: bool = False) -> Experiment:
  """Builds a recipe on 64 digits."""
  fields = {**SMALL, "bootstrap.policy": "adaptive", "train.precision": precision, "train.fsdp": split}
  recipe, *more = recipe.split()
  file, _, name = recipe.partition(":")
  words = [f"--config={CONFIGS / file}:{name},runlocal", *more, *(f"--config.{k}={v}" for k, v in fields.items())]
  config, workdir = flags.parse(words)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(mesh, "default_devices", lambda: jax.devices()[:devices])
    use_encoder(patch, lambda dtype: Encoder(8, dtype))
    patch.setattr(build_step, "compute_precision", lambda mesh, precision: precision)  # as on an accelerator
    return Experiment(with_partner(plain(config)), workdir)


@functools.cache
def first_state(recipe: str) -> TrainState:
  """Returns the state before the first step on the host, which does not depend on devices and precision."""
  return jax.device_get(run_of(recipe).init())


def start(recipe: str, run: Experiment) -> TrainState:
  """Returns the first state in the sharding of this run."""
  return jax.device_put(first_state(recipe), jax.tree.map(lambda x: x.sharding, run.state_shapes))


def train(run: Experiment, steps: int, state: TrainState, labels=None) -> tuple[TrainState, list[float]]:
  """Trains from `state`, which is donated, to `steps` steps in total; returns the state and the losses."""
  losses = []
  while (done := int(state.step)) < steps:
    epoch, first = divmod(done, STEPS_PER_EPOCH)
    if first == 0:
      state = run.start_epoch(state, epoch)
    for rows in itertools.islice(run.batches(state, epoch, first), steps - done):
      if labels is not None:
        rows = dataclasses.replace(rows, label=labels(rows.label))
      state, logs = run.step(state, rows)
      losses.append(float(logs["loss"]))
  return state, losses


def saved(state: TrainState, like: TrainState, folder: pathlib.Path) -> TrainState:
  """Saves the state and returns it as restored in the sharding of `like`."""
  with contextlib.closing(Checkpoints(folder, keep=1)) as checkpoints:
    checkpoints.save(int(state.step), state)
    restored = checkpoints.restore(like)
  assert restored is not None
  return restored[0]


def same_bits(a, b, but: str = "nothing") -> None:
  """Asserts that the leaves of two states are equal, except for those with the name `but`."""
  jax.tree_util.tree_map_with_path(
    lambda path, x, y: None if but in jax.tree_util.keystr(path) else np.testing.assert_array_equal(x, y),
    *jax.device_get((a, b)),
  )


@EACH
def test_the_gradient_lowers_the_loss(recipe):
  run = run_of(recipe)
  state, losses = run.start_epoch(start(recipe, run), 0), []
  rows = next(iter(run.batches(state, 0, 0)))
  names = ("teacher", "method_state", "neighbor_bank", "step")
  first = jax.device_get({name: getattr(state, name) for name in names})
  shardings = {name: jax.tree.map(lambda x: x.sharding, getattr(run.state_shapes, name)) for name in names}
  for _ in range(6):  # the same images, draws, teacher and method state; only the student changes
    state, logs = run.step(state, rows)
    losses.append(float(logs["loss"]))
    state = dataclasses.replace(state, **jax.device_put(first, shardings))
  assert np.isfinite(losses).all() and losses[-1] < losses[0] - 1e-4, losses


@EACH
def test_interrupted_runs_and_permuted_labels_change_no_bit(recipe, tmp_path):
  run = run_of(recipe)
  whole, losses = train(run, 7, start(recipe, run))
  assert np.isfinite(losses).all() and len(losses) == 7
  half, _ = train(run, 5, start(recipe, run))
  resumed, rest = train(run, 7, saved(half, run.state_shapes, tmp_path))
  assert rest == losses[5:]
  same_bits(whole, resumed)
  permuted, permuted_losses = train(run, 7, start(recipe, run), labels=lambda label: (label + 3) % 10)
  assert permuted_losses == losses
  same_bits(whole, permuted, but="labels")


@pytest.mark.parametrize("recipe", KINDS)
def test_one_and_eight_devices_agree_and_resume_from_each_other(recipe, tmp_path):
  single, sharded = run_of(recipe), run_of(recipe, devices=8)
  _, expected = train(single, 5, start(recipe, single))
  for before, after in ((single, sharded), (sharded, single)):
    half, losses = train(before, 3, start(recipe, before))
    _, rest = train(after, 5, saved(half, after.state_shapes, tmp_path / str(before.mesh.size)))
    np.testing.assert_allclose(losses + rest, expected, rtol=2e-3)


@pytest.mark.parametrize("recipe", [GROUPED[ISD]])
def test_splitting_weights_and_queues_changes_nothing(recipe, monkeypatch):
  monkeypatch.setattr(mesh, "LARGE", 1000)  # splits some leaves of these small networks
  single, split = run_of(recipe), run_of(recipe, devices=8, split=True)
  leaves = jax.tree_util.tree_flatten_with_path(split.state_shapes)[0]
  spread = {jax.tree_util.keystr(path[:1], simple=True) for path, leaf in leaves if "data" in leaf.sharding.spec}
  assert {"student", "teacher", "opt_state", "method_state"} <= spread
  (_, expected), (_, losses) = (train(run, 5, start(recipe, run)) for run in (single, split))
  np.testing.assert_allclose(losses, expected, rtol=2e-3)


HALF = [GROUPED["swav.py"], *(pytest.param(name, marks=pytest.mark.full) for name in (ISD, "vicreg.py"))]


@pytest.mark.parametrize("recipe", HALF)
def test_bfloat16_is_close_to_float32(recipe):
  run, half = run_of(recipe), run_of(recipe, precision="bfloat16")
  assert half.train_step.network.encoder.dtype == jnp.bfloat16
  _, exact = train(run, 1, start(recipe, run))
  state = half.start_epoch(start(recipe, half), 0)
  step = jax.jit(half.train_step.step, compiler_options=half_precision.COMPILER_OPTIONS)
  _, logs = step(state, next(iter(half.batches(state, 0, 0))), half.train.resident)
  np.testing.assert_allclose(logs["loss"], exact[0], rtol=0.05, atol=0.01)


@pytest.mark.parametrize("recipe", [GROUPED["simclr.py"]])
def test_every_step_draws_its_own_views(recipe, monkeypatch):
  run = run_of(recipe)
  state = run.start_epoch(start(recipe, run), 0)
  rows = next(iter(run.batches(state, 0, 0)))
  monkeypatch.setattr(TrainStep, "train", lambda self, state, batch, key: (batch.views["global"], jax.random.key_data(key)))
  draw = jax.jit(lambda step: run.train_step.step(dataclasses.replace(state, step=step), rows, run.train.resident))
  (views, key), (again, same_key), (others, other_key) = (jax.device_get(draw(step)) for step in (3, 3, 4))
  np.testing.assert_array_equal(views, again)
  np.testing.assert_array_equal(key, same_key)
  assert np.any(key != other_key)
  assert np.all(np.any(views != others, axis=(2, 3, 4)))  # each view of each image


@EACH
def test_the_teacher_is_the_moving_average_of_the_student(recipe):
  run, before = run_of(recipe), first_state(recipe)
  after, _ = train(run, 1, start(recipe, run))
  method, schedules = run.train_step.method, run.train_step.schedules
  assert (after.teacher is None) == ("teacher_momentum" not in schedules)
  if "teacher_momentum" in schedules:
    momentum = float(schedules["teacher_momentum"](0))
    newest = before.student if method.forward_spec.ema_before_forward else after.student
    for name, tree in after.teacher.params.items():
      expected = jax.tree.map(lambda t, o: momentum * t + (1 - momentum) * o, before.teacher.params[name], newest.params[name])
      jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7), tree, expected)


@EACH
def test_jit_changes_nothing(recipe):
  run = run_of(recipe)
  method, state = run.train_step.method, first_state(recipe).method_state
  width = next((leaf.shape[-1] for leaf in jax.tree.leaves(state)), 8)  # a queue's rows, or a center

  def outputs(slices) -> Outputs:
    views = sum((v.stop or run.config.views[v.group].count) - v.start for v in slices)
    keys = jax.random.split(jax.random.key(len(slices)), 3)
    h, z, p = (jax.random.normal(key, (views, 16, width)) for key in keys)
    return Outputs(features=h, projection=z, prediction=p)

  student = outputs(method.forward_spec.student)
  teacher = outputs(method.forward_spec.teacher)
  batch = ViewBatch(index=jnp.arange(16), views={}, label=jnp.arange(16) % 3)
  scheduled = {name: jnp.float32(schedule(3)) for name, schedule in run.train_step.schedules.items()}
  arguments = (student, teacher, state, scheduled)
  eager, _ = method.loss(*arguments)
  jitted, _ = jax.jit(method.loss)(*arguments)
  np.testing.assert_allclose(eager, jitted, rtol=1e-5)
  for a, b in zip(
    jax.tree.leaves(method.update_state(state, student, teacher, batch)),
    jax.tree.leaves(jax.jit(method.update_state)(state, student, teacher, batch)),
    strict=True,
  ):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
