"""Projectors and predictors."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxssl.core.types import Array
from jaxssl.models.init import dino_normal, torch_uniform
from jaxssl.models.norm import BatchNorm
from jaxssl.ops.nearest import normalize


class MLP(nn.Module):
  """Hidden layers of Linear, BatchNorm (if `bn`), ReLU; an output Linear, with a BatchNorm after it unless `last_bn` is none.

  Expresses ReSA's projector and predictor, and ISD's. Modules are named `linear_{i}` and `bn_{i}`.
  """

  hidden: int  # 0: as wide as the input
  out: int  # 0: as wide as the input
  layers: int  # Linears, the output's counted
  bn: bool = True
  last_bn: Literal["none", "plain", "affine"] = "none"  # plain: without scale and bias
  bias: bool = True  # in the hidden Linears
  dtype: jax.typing.DTypeLike = jnp.float32  # of the computation

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """Maps [b, f] to float32 [b, out]."""
    width = x.shape[-1]
    for i in range(self.layers - 1):
      x = self._linear(x, self.hidden or width, self.bias, f"linear_{i}")
      if self.bn:
        x = BatchNorm(dtype=self.dtype, name=f"bn_{i}")(x, train=train)
      x = nn.relu(x)
      self.sow("layers", f"hidden_{i + 1}", x)
    last = self.layers - 1
    x = self._linear(x, self.out or width, True, f"linear_{last}")
    if self.last_bn != "none":
      x = BatchNorm(affine=self.last_bn == "affine", name=f"bn_{last}")(x, train=train)
    self.sow("layers", "embedding", x)
    return x.astype(jnp.float32)

  def _linear(self, x: Array, features: int, bias: bool, name: str) -> Array:
    init = torch_uniform(fan_in=x.shape[-1])
    return nn.Dense(features, bias, kernel_init=init, bias_init=init, dtype=self.dtype, name=name)(x)


class DINOHead(nn.Module):
  """DINO's head (arXiv 2104.14294): Linears with exact GELU, down to a bottleneck of length one, then the prototypes.

  The logits are the products with the prototypes: cosines where `fixed_norm`.
  """

  hidden: int
  bottleneck: int
  out: int  # prototypes
  layers: int  # Linears before the prototypes, the bottleneck's counted
  bn: bool = False  # BatchNorm before each GELU
  fixed_norm: bool = True
  dtype: jax.typing.DTypeLike = jnp.float32  # of the Linears; the bottleneck's length and the prototypes are float32

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """Maps [b, f] to logits, float32 [b, out]."""
    for i in range(self.layers):
      if i > 0:
        x = nn.gelu(x, approximate=False)
        self.sow("layers", f"hidden_{i}", x)
      last = i == self.layers - 1
      dim = self.bottleneck if last else self.hidden
      x = nn.Dense(dim, kernel_init=dino_normal, dtype=self.dtype, name=f"linear_{i}")(x)
      if self.bn and not last:
        x = BatchNorm(dtype=self.dtype, name=f"bn_{i}")(x, train=train)
    x = normalize(x)
    self.sow("layers", "embedding", x)  # what the prototypes are compared with; the scores themselves may be 65,536 wide
    return Prototypes(self.out, self.fixed_norm, name="last_layer")(x)


class Prototypes(nn.Module):
  """A Linear without bias whose weights are a direction of length one and, unless `fixed_norm`, a trained length each."""

  out: int
  fixed_norm: bool

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps float32 [b, d] to float32 [b, out]."""
    direction = self.param("direction", torch_uniform(fan_in=x.shape[-1]), (x.shape[-1], self.out))
    kernel = direction / jnp.linalg.norm(direction, axis=0, keepdims=True)
    if not self.fixed_norm:
      # Two-dimensional as in torch: decay that spares one-dimensional parameters does not spare this one.
      kernel = kernel * self.param("norm", nn.initializers.ones, (1, self.out))
    return x @ kernel
