"""Encoders of the calling program: what is accepted, and what the errors say."""

import contextlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxssl.config.load import load_config
from jaxssl.config.schema import HeadConfig, ModelConfig
from jaxssl.core import UserError
from jaxssl.models import network
from jaxssl.parallel.mesh import make_mesh
from jaxssl.train import build_step
from tests.tiny_run import ROOT

CONFIG = ModelConfig(name="custom", projector=HeadConfig(name="mlp", hidden=4, out=3, layers=2))


class WithoutTrain(nn.Module):
  @nn.compact
  def __call__(self, x):
    return nn.Dense(3)(x.mean((1, 2)))


class Maps(nn.Module):
  @nn.compact
  def __call__(self, x, train):
    return nn.Dense(3)(x)


class Several(nn.Module):
  @nn.compact
  def __call__(self, x, *, train):
    return x, x


class Options(nn.Module):
  @nn.compact
  def __call__(self, x, **options):
    return nn.Dense(3)(x.mean((1, 2)))


class Modern(nnx.Module):
  """A module of flax.nnx with batch statistics and dropout, which takes no `train`."""

  def __init__(self, rngs):
    self.conv, self.bn = nnx.Conv(1, 8, (3, 3), rngs=rngs), nnx.BatchNorm(8, rngs=rngs)
    self.dropout = nnx.Dropout(0.5, rngs=rngs)

  def __call__(self, x):
    return self.dropout(self.bn(self.conv(x)).mean((1, 2)))


class ModernMaps(nnx.Module):
  def __call__(self, x, train):
    return x


class Dropping(nn.Module):
  @nn.compact
  def __call__(self, x, train):
    return nn.Dropout(0.5, deterministic=not train)(x.mean((1, 2)))


def test_a_teacher_has_no_dropout():
  built = network.build(CONFIG, "float32", 8, Dropping())
  variables, views = built.init(jax.random.key(0), (8, 8, 5)), jnp.ones((4, 1, 8, 8, 5))
  student, _ = built.apply(variables, [views], joint=False, key=jax.random.key(0))
  teacher, _ = built.apply(variables, [views], joint=False, key=None)
  assert (student.features == 0).any() and (teacher.features == 1).all()


class DropPath(nn.Module):
  """Draws random numbers of a stream, whether it is there or not."""

  stream: str = "dropout"

  @nn.compact
  def __call__(self, x, train):
    y = nn.Dense(3)(x.mean((1, 2)))
    return y * jax.random.bernoulli(self.make_rng(self.stream), 0.5, y.shape) if train else y


class Table(nn.Module):
  @nn.compact
  def __call__(self, x, train):
    table = self.variable("constants", "table", lambda: jnp.ones((1, 3))).value
    return nn.Dense(3)(x.mean((1, 2))) * table


class Scaled(nn.Module):
  scale: Any

  @nn.compact
  def __call__(self, x, train):
    return nn.Dense(3)(x.mean((1, 2))) * jnp.asarray([self.scale])


@pytest.mark.parametrize(
  "encoder, teacher, message",
  [
    (DropPath(), False, ""),
    (DropPath(), True, r"^encoder=DropPath: draws random numbers that are not there; .* only if self.has_rng\("),
    (DropPath("noise"), False, r"^encoder=DropPath: draws random numbers that are not there"),
    (Table(), False, r"^encoder=Table: has variables of another collection; expected params and batch_stats alone"),
    (Scaled((1.0, 2.0, 3.0)), True, ""),
    (Scaled(np.ones(3)), False, r"^encoder=Scaled: a field cannot be hashed, such as an array; expected tuples"),
  ],
)
def test_what_an_encoder_needs_and_does_not_get_is_one_line_before_training(encoder, teacher, message):
  name = "byol" if teacher else "simsiam"
  config = load_config(ROOT / f"configs/{name}.py:runlocal", {"model.name": "custom"})
  with pytest.raises(UserError, match=message) if message else contextlib.nullcontext():
    assert build_step.build_train_step(config, make_mesh(jax.devices()[:1]), 64, encoder).dims.features == 3


@pytest.mark.parametrize(
  "encoder, message",
  [
    (WithoutTrain, r"^encoder=WithoutTrain: a class; expected a flax module .*; pass an instance: WithoutTrain\(...\)"),
    (Modern, r"^encoder=Modern: a class; .*; pass an instance: Modern\(...\)"),
    (dict, r"^encoder=dict: a class; expected a flax module .* returns features \[b, f\]"),
    (WithoutTrain(), r"^encoder=WithoutTrain: its __call__ does not take train=; expected a flax module"),
    (lambda images: images, r"^encoder: a function; expected a flax module"),
    (Maps(), r"^encoder=Maps: maps \[1, 8, 8, 1\] to \[1, 8, 8, 3\]; expected features \[b, f\]; take the mean over rows"),
    (ModernMaps(), r"^encoder=ModernMaps: maps \[1, 8, 8, 1\] to \[1, 8, 8, 1\]; expected features"),
    (Several(), r"^encoder=Several: returns a tuple; expected one array of features \[b, f\]"),
  ],
)
def test_a_wrong_encoder_is_one_line(encoder, message):
  with pytest.raises(UserError, match=message):
    jax.eval_shape(lambda: network.build(CONFIG, "float32", 8, encoder).init(jax.random.key(0), (8, 8, 1)))


def test_a_module_may_take_train_among_other_options():
  built = network.build(CONFIG, "float32", 8, Options())
  assert jax.eval_shape(lambda: built.init(jax.random.key(0), (8, 8, 1))).params["encoder"]["Dense_0"]["bias"].shape == (3,)


def test_a_module_of_nnx_starts_from_its_weights_and_has_modes_statistics_and_dropout():
  module = Modern(nnx.Rngs(0))
  built = network.build(CONFIG, "float32", 8, module)
  variables = built.init(jax.random.key(5), (8, 8, 1))
  kernel = variables.params["encoder"]["nnx"]["conv"]["kernel"]
  np.testing.assert_array_equal(kernel, module.conv.kernel[...])
  views = jax.random.normal(jax.random.key(1), (4, 1, 8, 8, 1))
  outputs, stats = built.apply(variables, [views], joint=False, key=jax.random.key(0))
  others, _ = built.apply(variables, [views], joint=False, key=jax.random.key(1))
  assert 0.2 < (outputs.features == 0).mean() < 0.8  # half are dropped, others with another key
  assert (outputs.features != others.features).any()
  teacher, _ = built.apply(variables, [views], joint=False, key=None)
  assert (teacher.features != 0).all()
  assert jnp.abs(stats["encoder"]["nnx"]["bn"]["mean"]).max() > 0  # updated, and the module itself is not changed
  np.testing.assert_array_equal(module.bn.mean[...], 0)
  module.eval()
  np.testing.assert_allclose(built.encode(variables, views[:, 0]), module(views[:, 0]), rtol=1e-6)
