"""Networks as modules of flax.nnx."""

import flax.linen as nn
import jax.numpy as jnp
from flax import nnx, traverse_util
from flax.nnx import bridge

from jaxssl.core.types import PyTree


def as_nnx(encoder: nn.Module, variables: dict[str, PyTree], image_shape: tuple[int, int, int]) -> nnx.Module:
  """Returns an encoder as a module of flax.nnx, by flax's bridge, with the given weights and statistics.

  variables: the collections `params` and `batch_stats`. image_shape: height, width, channels. The module maps normalized images
  [b, h, w, c] to float32 [b, f]; it takes `train=`, as the encoder does.
  """
  images = jnp.zeros((1, *image_shape), jnp.float32)
  module = bridge.ToNNX(encoder, rngs=nnx.Rngs(0))
  module.lazy_init(images, train=False)
  weights = {path: leaf for tree in variables.values() for path, leaf in traverse_util.flatten_dict(tree).items()}
  state = nnx.state(module, (nnx.Param, nnx.BatchStat))
  for path, variable in nnx.to_flat_state(state):
    variable[...] = jnp.asarray(weights[path])
  nnx.update(module, state)
  return module
