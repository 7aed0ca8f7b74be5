"""The teacher's rows are shuffled over the groups in which BatchNorm computes its statistics, and its outputs are in order."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxssl.config.schema import Config, ModelConfig, TrainConfig
from jaxssl.core.rng import jax_key
from jaxssl.methods import read_method
from jaxssl.methods.base import ForwardSpec, SSLMethod, ViewSlice
from jaxssl.models.heads import MLP
from jaxssl.models.network import Network
from jaxssl.models.norm import BatchNorm
from jaxssl.parallel.mesh import global_rows, make_mesh, replicate
from jaxssl.train.step import TrainStep
from tests.train.fixtures import build_step

ROWS, SEED = 16, 5
VIEWS = np.random.default_rng(0).standard_normal((ROWS, 2, 1, 1, 3), np.float32)


class Pixel(BatchNorm):
  """BatchNorm of images of one pixel."""

  def __call__(self, x, *, train: bool):
    return super().__call__(x[:, 0, 0], train=train)


@dataclasses.dataclass(frozen=True)
class Shuffled(SSLMethod):
  """A method of which only the passes matter."""

  forward_spec = ForwardSpec(student=(ViewSlice("global"),), teacher=(ViewSlice("global"),), shuffle_teacher=True)


def step_of(
  groups: int, accumulate: int = 1, devices: int = 1, network: Network | None = None, shuffle: bool = True
) -> TrainStep:
  network = network or Network(Pixel(affine=False, groups=groups), MLP(4, 2, layers=2, bn=False))
  made = build_step(network, Shuffled(), {}, optax.with_extra_args_support(optax.sgd(0.1)))
  train, model = TrainConfig(batch_size=ROWS, seed=SEED, accumulate=accumulate), ModelConfig(bn_groups=groups)
  if not shuffle:
    made = dataclasses.replace(made, method=type("Plain", (Shuffled,), {"forward_spec": ForwardSpec(student=())})())
  return dataclasses.replace(made, config=Config(train=train, model=model), mesh=make_mesh(jax.devices()[:devices]))


def passed(made: TrainStep, step: int = 3):
  """Runs the teacher: (outputs, statistics)."""
  variables = made.network.init(jax.random.key(0), (1, 1, 3))
  rows = global_rows(made.mesh, VIEWS)
  return jax.jit(lambda v, x, s: made._teacher_forward(v, [x], s))(*replicate(made.mesh, (variables,)), rows, np.int32(step))


def order_of(step: int) -> np.ndarray:
  return np.asarray(jax.random.permutation(jax.random.fold_in(jax_key(SEED, "shuffle"), step), ROWS))


def normalized(groups: list[np.ndarray]) -> np.ndarray:
  """Normalizes the rows of each group by its own statistics."""
  out = np.zeros((ROWS, 3))
  for rows in groups:
    x = VIEWS[rows, 0, 0, 0].astype(np.float64)
    out[rows] = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
  return out


@pytest.mark.parametrize("groups, accumulate", [(4, 1), (1, 4), (2, 2)])
def test_statistics_are_those_of_the_shuffled_groups(groups, accumulate):
  order = order_of(3)
  parts = [order.reshape(-1, accumulate)[:, part] for part in range(accumulate)]  # rows are taken in turn
  shuffled = [group for part in parts for group in np.split(part, groups)]
  outputs, _ = passed(step_of(groups, accumulate))
  np.testing.assert_allclose(outputs.features[0], normalized(shuffled), atol=1e-5)
  unshuffled, _ = passed(step_of(groups, accumulate, shuffle=False))
  assert np.abs(unshuffled.features[0] - outputs.features[0]).max() > 0.1


def test_running_statistics_are_the_means_over_the_groups():
  _, stats = passed(step_of(4))
  x = VIEWS[order_of(3)][:, :, 0, 0].reshape(4, 4, 2, 3).astype(np.float64)
  expected = np.zeros(3)
  for view in range(2):
    expected = 0.9 * expected + 0.1 * x[:, :, view].mean(1).mean(0)
  np.testing.assert_allclose(stats["encoder"]["mean"], expected, atol=1e-6)


def test_the_order_is_a_function_of_the_step():
  first, again, other = (passed(step_of(4), step)[0].features for step in (3, 3, 4))
  np.testing.assert_array_equal(first, again)
  assert np.abs(first - other).max() > 0.1


def test_all_devices_shuffle_alike():
  one, eight = passed(step_of(4)), passed(step_of(4, devices=8))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one, eight)


def test_outputs_are_in_the_order_of_the_batch():
  """A network whose outputs do not depend on its statistics has the same outputs, bit for bit, with extras."""

  class Other(Network):
    def apply(self, variables, groups, *, joint, key):
      x = jnp.moveaxis(groups[0][:, :, 0, 0], 1, 0)
      outputs, _ = Network.apply(self, variables, groups, joint=joint, key=key)
      return dataclasses.replace(outputs, features=x, projection=2 * x, prediction=3 * x, extras={"patches": 4 * x}), {}

  outputs, _ = passed(step_of(4, network=Other(Pixel(affine=False, groups=4))))
  x = np.moveaxis(VIEWS[:, :, 0, 0], 1, 0)
  for factor, values in enumerate((outputs.features, outputs.projection, outputs.prediction, outputs.extras["patches"]), 1):
    np.testing.assert_array_equal(values, factor * x)


@pytest.mark.parametrize(
  "made, shuffles",
  [
    (step_of(4), True),
    (step_of(1, accumulate=2), True),
    (step_of(1), False),
    (step_of(4, shuffle=False), False),
    (step_of(4, network=Network(MLP(4, 2, layers=1, bn=False))), False),  # without batch statistics
  ],
)
def test_rows_are_permuted_only_where_it_changes_something(made, shuffles):
  views = VIEWS if isinstance(made.network.encoder, Pixel) else VIEWS[:, :, 0, 0]
  variables = jax.eval_shape(lambda: made.network.init(jax.random.key(0), views.shape[2:]))
  text = str(jax.make_jaxpr(made._teacher_forward)(variables, [views], jnp.int32(0)))
  assert ("sharding_constraint" in text) == shuffles


@pytest.mark.parametrize("name", ["mocov2", "isd", "msf"])
def test_methods_whose_released_code_shuffles_declare_it(name):
  assert read_method({"name": name, "teacher_momentum": 0.99}).forward_spec.shuffle_teacher
  assert not read_method({"name": "byol", "teacher_momentum": 0.99}).forward_spec.shuffle_teacher
