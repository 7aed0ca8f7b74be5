"""All weights of all encoders have the names and layouts of torch, and convert back exactly."""

import jax
import numpy as np
import pytest

from jaxssl.config.schema import ModelConfig
from jaxssl.pretrained.torch_names import from_torch, to_torch
from tests.golden_files import cases
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
  params, stats = random_encoder(model)
  tensors = to_torch(params, stats)
  assert len(tensors) == len(jax.tree.leaves((params, stats)))
  for tree in (params, stats):
    jax.tree.map(np.testing.assert_array_equal, from_torch(tensors, tree), tree)


def names_of(file):
  """Returns (case, its torch names without num_batches_tracked)."""
  named = [(name, [str(n) for n in case["names"]]) for name, case in cases(file).items() if "names" in case]
  assert named
  return [(name, {n for n in names if not n.endswith("num_batches_tracked")}) for name, names in named]


def test_resnet_names_are_those_of_torchvision():
  for _, names in names_of("backbones_resnet"):
    assert set(to_torch(*random_encoder(MODELS["imagenet_slim"]))) == {n for n in names if not n.startswith("fc.")}


def test_vit_names_are_those_of_dino():
  for _, names in names_of("backbones_vit"):
    depth = 1 + max(int(n.split(".")[1]) for n in names if n.startswith("blocks."))
    assert set(to_torch(*random_encoder(ModelConfig(name="vit_ti", depth=depth, patch=8)))) == names


def test_a_custom_encoder_keeps_its_names():
  assert set(to_torch({"proj": {"kernel": np.ones((2, 3))}, "blocks": {"fc1": {"bias": np.ones(3)}}}, {})) == {
    "proj.weight",
    "blocks.fc1.bias",
  }


def test_layouts_are_those_of_torch():
  tensors = to_torch(*random_encoder(MODELS["resnet50"]))
  assert tensors["conv1.weight"].shape == (4, 3, 7, 7) and tensors["layer1.0.downsample.0.weight"].shape == (16, 4, 1, 1)
  tensors = to_torch(*random_encoder(MODELS["vit"]))
  assert tensors["blocks.0.attn.qkv.weight"].shape == (576, 192) and tensors["patch_embed.proj.weight"].shape == (192, 3, 8, 8)
