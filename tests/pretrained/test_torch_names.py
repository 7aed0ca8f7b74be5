"""All weights of all encoders convert to torch names and back exactly; test_match.py compares the names with torch."""

import jax
import numpy as np
import pytest

from jaxssl.config.schema import ModelConfig
from jaxssl.core.types import Variables
from jaxssl.pretrained.torch_names import from_torch, to_torch
from tests.pretrained.fixtures import random_encoder

MODELS = {
  "cifar_slim": ModelConfig(name="resnet18", width=1 / 16, stem="cifar"),
  "imagenet_slim": ModelConfig(name="resnet18", width=1 / 16, stem="imagenet"),
  "resnet50": ModelConfig(name="resnet50", width=1 / 16),
  "vit": ModelConfig(name="vit_ti", depth=2, patch=8),
  "convnext": ModelConfig(name="convnext_tiny", width=1 / 16, depth=1),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_the_round_trip_through_torch_names_is_exact(model):
  variables = random_encoder(model)
  tensors = to_torch(variables)
  assert len(tensors) == len(jax.tree.leaves(variables))
  jax.tree.map(np.testing.assert_array_equal, from_torch(tensors, jax.tree.map(np.zeros_like, variables)), variables)


def test_a_custom_encoder_keeps_its_names():
  params = {"proj": {"kernel": np.ones((2, 3))}, "blocks": {"fc1": {"bias": np.ones(3)}}}
  assert set(to_torch(Variables(params={"encoder": params}, stats={}))) == {"proj.weight", "blocks.fc1.bias"}
