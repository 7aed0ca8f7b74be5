"""Projectors and predictors, and the initializers of torch that encoders share with them."""

import functools
import math
from collections.abc import Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Initializer

from jaxssl.core.types import Array
from jaxssl.models.gelu import gelu
from jaxssl.models.norm import BatchNorm
from jaxssl.ops.nearest import normalize

# The reference code of DINO and timm truncates this normal at +-2, which is 100 standard deviations and has no effect.
normal_002: Initializer = nn.initializers.normal(0.02)


def torch_uniform(fan_in: int) -> Initializer:
  """Initializes weights and biases as torch's Linear and Conv2d do: uniform in +-1/sqrt(fan_in)."""
  bound = fan_in**-0.5
  return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


def xavier_uniform(parts: int = 1) -> Initializer:
  """Initializes kernels [..., in, out] uniformly in +-sqrt(6 / (fan_in + fan_out)), where `parts` kernels share the outputs."""

  def init(key: Array, shape: Sequence[int], dtype: jax.typing.DTypeLike = jnp.float32) -> Array:
    fan_in = math.prod(shape[:-1])  # a patch embedding is one Linear of all the values of a patch
    bound = math.sqrt(6 / (fan_in + shape[-1] / parts))
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return init


class MLP(nn.Module):
  """A multilayer perceptron: hidden layers of Linear, BatchNorm (if `bn`) and ReLU, then an output Linear.

  A BatchNorm follows the output unless `last_bn` is "none". Modules are named `linear_{i}` and `bn_{i}`.
  """

  hidden: int  # 0: the width of the input
  out: int  # 0: the width of the input
  layers: int  # Linears, including the output
  bn: bool = True
  last_bn: Literal["none", "plain", "affine"] = "none"  # plain: without scale and bias
  bias: bool = True  # of the hidden Linears
  bn_groups: int = 1
  dtype: jax.typing.DTypeLike = jnp.float32  # of the computation

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """Maps [b, f] to float32 [b, out]."""
    width = x.shape[-1]
    for i in range(self.layers - 1):
      x = self._linear(x, self.hidden or width, self.bias, f"linear_{i}")
      if self.bn:
        x = BatchNorm(groups=self.bn_groups, dtype=self.dtype, name=f"bn_{i}")(x, train=train)
      x = nn.relu(x)
      self.sow("layers", f"hidden_{i + 1}", x)
    x = self._linear(x, self.out or width, True, f"linear_{self.layers - 1}")
    if self.last_bn != "none":
      options = {"affine": self.last_bn == "affine", "groups": self.bn_groups}
      x = BatchNorm(**options, name=f"bn_{self.layers - 1}")(x, train=train)
    self.sow("layers", "embedding", x)
    return x.astype(jnp.float32)

  def _linear(self, x: Array, features: int, bias: bool, name: str) -> Array:
    init = torch_uniform(fan_in=x.shape[-1])
    return nn.Dense(features, bias, kernel_init=init, bias_init=init, dtype=self.dtype, name=name)(x)


class DINOHead(nn.Module):
  """DINO's head (arXiv 2104.14294): Linears with exact GELU, an L2-normalized bottleneck, and prototypes.

  The logits are the products with the prototypes, which are cosines if `fixed_norm`.
  """

  hidden: int
  bottleneck: int
  out: int  # prototypes
  layers: int  # Linears before the prototypes, including the bottleneck
  bn: bool = False  # BatchNorm before each GELU
  fixed_norm: bool = True
  bn_groups: int = 1
  dtype: jax.typing.DTypeLike = jnp.float32  # of the Linears; the normalization and the prototypes compute in float32

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """Maps [b, f] to logits, float32 [b, out]."""
    linear = functools.partial(nn.Dense, kernel_init=normal_002, dtype=self.dtype)
    for i in range(self.layers - 1):
      x = linear(self.hidden, name=f"linear_{i}")(x)
      if self.bn:
        x = BatchNorm(groups=self.bn_groups, dtype=self.dtype, name=f"bn_{i}")(x, train=train)
      x = gelu(x)
      self.sow("layers", f"hidden_{i + 1}", x)
    x = normalize(linear(self.bottleneck, name=f"linear_{self.layers - 1}")(x))
    self.sow("layers", "embedding", x)  # the logits may be 65,536 wide
    return Prototypes(self.out, self.fixed_norm, name="last_layer")(x)


class Prototypes(nn.Module):
  """A weight-normalized Linear without bias: unit directions and, unless `fixed_norm`, a trained norm for each."""

  out: int
  fixed_norm: bool

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps float32 [b, d] to float32 [b, out]."""
    direction = self.param("direction", torch_uniform(fan_in=x.shape[-1]), (x.shape[-1], self.out))
    kernel = direction / jnp.linalg.norm(direction, axis=0, keepdims=True)
    if not self.fixed_norm:
      # Two-dimensional as in torch, so that weight decay that excludes one-dimensional parameters includes this one.
      kernel = kernel * self.param("norm", nn.initializers.ones, (1, self.out))
    # A GPU would round both to TF32 otherwise, and DINO divides the teacher's logits by 0.04.
    return jnp.dot(x, kernel, precision=jax.lax.Precision.HIGHEST)
