"""The documented backbone works with every part of jaxssl that reads a backbone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.config.schema import ModelConfig
from jaxssl.core import UserError
from jaxssl.models.backbone import BACKBONES, backbone
from jaxssl.models.network import build
from jaxssl.pretrained.match import find
from jaxssl.pretrained.torch_names import from_torch, to_torch
from tests.extending_page import PAGE, example


@pytest.fixture
def registered():
  """Executes the documented example; restores the registry afterward."""
  before = dict(BACKBONES)
  exec(compile(example("Add a backbone"), str(PAGE), "exec"), {"__name__": "example"})
  yield
  BACKBONES.clear()
  BACKBONES.update(before)


def test_the_documented_backbone_encodes_converts_and_names_errors(registered):
  config = ModelConfig(name="patch_mlp", width=0.25, depth=2, patch=8)
  network = build(config, "float32", 32)
  variables = network.init(jax.random.key(0), (32, 32, 3))
  images = jax.random.normal(jax.random.key(1), (2, 32, 32, 3))
  features = network.encode(variables, images)
  assert (features.shape, features.dtype) == ((2, 16), jnp.float32) and network.attention(variables, images) is None
  with pytest.raises(UserError, match="model.patch=5: out of range; expected a divisor of the image size, 32"):
    build(dataclasses.replace(config, patch=5), "float32", 32)

  tensors = to_torch(variables)
  assert tensors.keys() == {f"{module}.{leaf}" for module in ("stem", "layers.0", "layers.1") for leaf in ("weight", "bias")}
  jax.tree.map(np.testing.assert_array_equal, from_torch(tensors, jax.tree.map(jnp.zeros_like, variables)), variables)
  shapes = {name: x.shape for name, x in tensors.items()} | {"stem.weight": (16, 1, 8, 8)}
  gray = find("FILE", {f"teacher.{name}": x for name, x in tensors.items()}, shapes, backbone(config), False)
  np.testing.assert_allclose(gray["stem.weight"], tensors["stem.weight"].sum(1, keepdims=True))
  with pytest.raises(UserError, match="model.name=patch_mlp: not in timm or torchvision; expected"):
    backbone(config).timm(3, 32)
