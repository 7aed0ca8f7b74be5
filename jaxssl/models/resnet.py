"""Residual networks (arXiv 1512.03385) as torchvision builds them: stride in the 3x3 convolution of a bottleneck (v1.5)."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxssl.core.types import Array
from jaxssl.models.norm import BatchNorm

# name -> (whether its blocks are bottlenecks, blocks in each of the four stages)
SIZES = {
  "resnet10": (False, (1, 1, 1, 1)),
  "resnet18": (False, (2, 2, 2, 2)),
  "resnet34": (False, (3, 4, 6, 3)),
  "resnet50": (True, (3, 4, 6, 3)),
}


class Block(nn.Module):
  """Two 3x3 convolutions, or 1x1, 3x3, 1x1 (bottleneck, four times as many channels out), around a shortcut."""

  channels: int
  stride: int
  bottleneck: bool
  bn_groups: int
  dtype: jax.typing.DTypeLike

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """Maps [b, h, w, c] to [b, h/stride, w/stride, channels out]."""
    stride, width = self.stride, self.channels
    out = 4 * width if self.bottleneck else width
    basic, bottleneck = [(width, 3, stride), (width, 3, 1)], [(width, 1, 1), (width, 3, stride), (out, 1, 1)]
    y = x
    for i, (channels, side, step) in enumerate(bottleneck if self.bottleneck else basic, 1):
      y = y if i == 1 else nn.relu(y)
      y = _conv(channels, side, step, side // 2, self.dtype, f"conv{i}")(y)
      y = BatchNorm(groups=self.bn_groups, dtype=self.dtype, name=f"bn{i}")(y, train=train)
    if stride != 1 or x.shape[-1] != out:
      x = _conv(out, 1, stride, 0, self.dtype, "downsample_conv")(x)
      x = BatchNorm(groups=self.bn_groups, dtype=self.dtype, name="downsample_bn")(x, train=train)
    return nn.relu(x + y)


class ResNet(nn.Module):
  """A residual network without classifier; modules are named as torchvision names them (`layer1.0` is `layer1_0`).

  Stems: `imagenet` 7x7 stride 2 and max-pool; `cifar` 3x3 without pool; `cifar_pad` the same after a border of zeros, one
  pixel wide: ReSA's CIFAR network, which sees 34 x 34 where the image has 32 x 32; `small` 3x3 stride 2 without pool.
  """

  bottleneck: bool
  stages: tuple[int, ...]
  channels: int = 64  # of the first stage
  stem: Literal["imagenet", "cifar", "cifar_pad", "small"] = "imagenet"
  bn_groups: int = 1
  dtype: jax.typing.DTypeLike = jnp.float32  # of the computation

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """Maps images [b, h, w, c] to features averaged over space, float32 [b, f]."""
    # A border of zeros before a convolution that pads by one is a padding of two.
    stems = {"imagenet": (7, 2, 3), "cifar": (3, 1, 1), "cifar_pad": (3, 1, 2), "small": (3, 2, 1)}
    side, stride, padding = stems[self.stem]
    x = _conv(self.channels, side, stride, padding, self.dtype, "conv1")(x)
    x = nn.relu(BatchNorm(groups=self.bn_groups, dtype=self.dtype, name="bn1")(x, train=train))
    if self.stem == "imagenet":
      x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))  # type: ignore[arg-type]
    for stage, blocks in enumerate(self.stages):
      for i in range(blocks):
        x = Block(
          channels=self.channels * 2**stage,
          stride=2 if stage > 0 and i == 0 else 1,
          bottleneck=self.bottleneck,
          bn_groups=self.bn_groups,
          dtype=self.dtype,
          name=f"layer{stage + 1}_{i}",
        )(x, train=train)
    return x.mean((1, 2), dtype=jnp.float32)


def _conv(channels: int, side: int, stride: int, padding: int, dtype: jax.typing.DTypeLike, name: str) -> nn.Conv:
  return nn.Conv(
    channels,
    (side, side),
    strides=stride,
    padding=padding,
    use_bias=False,
    kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
    dtype=dtype,
    name=name,
  )
