"""A tiny encoder and plain views, which compile in a tenth of a recipe's time, and comparisons with golden runs."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.bootstrap.policy import NeighborBootstrap
from jaxssl.config.schema import BootstrapConfig, Config
from jaxssl.core.types import Variables
from jaxssl.methods.base import SSLMethod
from jaxssl.models import network
from jaxssl.models.backbone import Backbone
from jaxssl.models.network import Network
from jaxssl.models.norm import BatchNorm
from jaxssl.parallel.mesh import make_mesh
from jaxssl.train.step import TrainStep
from tests.torch_weights import to_state

MESH = make_mesh(jax.devices()[:1])
PLAIN = {"jitter": (0.0,) * 4, "gray_p": 0.0, "blur_p": (0.0,), "solarize_p": (0.0,), "affine": 0.0, "thicken": 0.0}


class Encoder(nn.Module):
  """The tiny encoder of the golden runs."""

  width: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x, *, train: bool):
    x = nn.Conv(self.width, (3, 3), padding=1, use_bias=False, dtype=self.dtype, name="conv1")(x)
    x = nn.relu(BatchNorm(dtype=self.dtype, name="bn1")(x, train=train))
    x = nn.Conv(2 * self.width, (3, 3), strides=2, padding=1, use_bias=False, dtype=self.dtype, name="conv2")(x)
    return nn.relu(BatchNorm(dtype=self.dtype, name="bn2")(x, train=train)).mean((1, 2))


def use_encoder(patch: pytest.MonkeyPatch, build: Callable[[Any], nn.Module]) -> None:
  """Replaces every backbone by `build(dtype)`."""
  patch.setattr(Backbone, "build", lambda self, dtype, size: build(dtype))
  patch.setattr(network, "backbone", lambda config: Backbone(name=config.name))


def plain(config: Config) -> Config:
  """Removes all augmentations but crops and flips from a config."""
  views = {name: dataclasses.replace(view, **PLAIN, interpolation="bilinear") for name, view in config.views.items()}
  return dataclasses.replace(config, views=views)


def build_step(network: Network, method: SSLMethod, schedules: dict, optimizer, images=1, bootstrap=None) -> TrainStep:
  """Builds a train step on one device from its parts, by default without bootstrapping."""
  policy = NeighborBootstrap(config=bootstrap or BootstrapConfig(), mesh=MESH, num_images=images)
  parts: Any = {"config": Config(), "network": network, "method": method, "schedules": schedules, "optimizer": optimizer}
  return TrainStep(**parts, bootstrap=policy, mesh=MESH)


def part(state: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
  """Returns the entries of one module without its prefix and without the head `fc` that torch nests in it."""
  entries = {name.removeprefix(prefix + "."): value for name, value in state.items() if name.startswith(prefix + ".")}
  return {name: value for name, value in entries.items() if not name.startswith("fc.")}


def compare(net: Variables, names: dict[str, str], state, after, place, share: float, least: float = 1e-6) -> int:
  """Compares modules, ours -> the reference's, with the reference's weights and statistics at a step; returns their number."""
  compared = 0
  for ours, name in names.items():
    variables = Variables(params=net.params[ours], stats=net.stats.get(ours, {}))
    for leaf, value in to_state(variables, part(state, name)).items():
      expected = after[f"{name}.{leaf}"][place]
      np.testing.assert_allclose(value, expected, atol=share * np.abs(expected).max() + least, err_msg=f"{name} {leaf} {place}")
      compared += 1
  return compared
