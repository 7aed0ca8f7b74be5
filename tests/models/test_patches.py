"""Features of patches: tokens of a ViT, or the last feature map of a convnet."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.core import UserError
from jaxssl.core.types import Variables
from jaxssl.models.network import Network
from tests.models.test_network import start, tiny

pytestmark = pytest.mark.slow


def test_patches_of_a_convnet_are_its_last_feature_map_whose_mean_is_the_output():
  network = tiny("resnet")
  variables, images = start(network, 3), jax.random.normal(jax.random.key(1), (2, 64, 96, 3))
  patches = network.patches(variables, images)
  assert patches.ndim == 4 and patches.shape[1] * 3 == patches.shape[2] * 2 and patches.dtype == jnp.float32
  np.testing.assert_allclose(patches.mean((1, 2)), network.encode(variables, images), rtol=1e-5, atol=1e-6)


def test_patches_of_a_convnext_are_normalized_as_its_output():
  network = tiny("convnext")
  variables, images = start(network, 3), jax.random.normal(jax.random.key(1), (2, 64, 96, 3))
  patches = network.patches(variables, images)
  assert patches.shape[1] * 3 == patches.shape[2] * 2
  assert network.patches(variables, images[:, :16, :16]).shape == (2, 1, 1, 8)
  one = images[:, :16, :16]
  np.testing.assert_allclose(network.patches(variables, one)[:, 0, 0], network.encode(variables, one), rtol=1e-5, atol=1e-6)


def test_patches_of_a_vit_are_its_tokens_row_by_row():
  network = tiny("vit")
  variables, images = start(network, 3), jax.random.normal(jax.random.key(1), (2, 16, 24, 3))
  tokens, patches = network.tokens(variables, images), network.patches(variables, images)
  assert patches.shape == (2, 2, 3, tokens.shape[-1])
  np.testing.assert_array_equal(patches[:, 1, 2], tokens[:, 6])


def test_an_encoder_without_patches_is_an_error():
  class Mean(nn.Module):
    @nn.compact
    def __call__(self, images, *, train):
      return images.mean((1, 2))

  network = Network(encoder=Mean())
  assert not network.has_patches
  message = "model.name: Mean has no features of patches; expected a ResNet, ConvNeXt or ViT,"
  with pytest.raises(UserError, match=message):
    network.patches(Variables(params={"encoder": {}}, stats={}), jnp.zeros((1, 8, 8, 3)))
