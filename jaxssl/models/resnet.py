"""Residual networks (arXiv 1512.03385) as in torchvision, with the stride in the 3x3 convolution of a bottleneck (v1.5)."""

import re
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxssl.core import require
from jaxssl.core.types import Array
from jaxssl.models.backbone import FOR_TORCH, LARGEST_SIDE, Backbone, Shapes, block, first_shape, register
from jaxssl.models.convolution import convolve
from jaxssl.models.norm import BatchNorm

Stem = Literal["imagenet", "cifar", "cifar_pad", "small"]
# name -> (bottleneck blocks or basic blocks, blocks in each of the four stages)
SIZES = {
  "resnet10": (False, (1, 1, 1, 1)),
  "resnet18": (False, (2, 2, 2, 2)),
  "resnet34": (False, (3, 4, 6, 3)),
  "resnet50": (True, (3, 4, 6, 3)),
}


class Block(nn.Module):
  """A residual block of two 3x3 convolutions, or of 1x1, 3x3 and 1x1 with four times as many channels out (bottleneck)."""

  channels: int
  stride: int
  bottleneck: bool
  zero_init: bool  # whether the scale of the last BatchNorm starts at 0, so that the block starts as its shortcut
  bn_groups: int
  dtype: jax.typing.DTypeLike

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    """Maps [b, h, w, c] to [b, h / stride, w / stride, channels out]."""
    stride, width = self.stride, self.channels
    out = 4 * width if self.bottleneck else width
    basic, bottleneck = [(width, 3, stride), (width, 3, 1)], [(width, 1, 1), (width, 3, stride), (out, 1, 1)]
    y = x
    convolutions = bottleneck if self.bottleneck else basic
    for i, (channels, side, step) in enumerate(convolutions, 1):
      y = y if i == 1 else nn.relu(y)
      y = _conv(channels, side, step, side // 2, self.dtype, f"conv{i}")(y)
      zero = self.zero_init and i == len(convolutions)
      y = BatchNorm(groups=self.bn_groups, zero_scale=zero, dtype=self.dtype, name=f"bn{i}")(y, train=train)
    if stride != 1 or x.shape[-1] != out:
      x = _conv(out, 1, stride, 0, self.dtype, "downsample_conv")(x)
      x = BatchNorm(groups=self.bn_groups, dtype=self.dtype, name="downsample_bn")(x, train=train)
    return nn.relu(x + y)


class ResNet(nn.Module):
  """A residual network without classifier. Modules are named as in torchvision (`layer1.0` is `layer1_0`).

  Stems: `imagenet` is 7x7 with stride 2 and max-pooling; the others have no pooling: `cifar` is 3x3, `cifar_pad` the same after
  zero-padding by one pixel, as in ReSA's CIFAR network, and `small` 3x3 with stride 2.
  """

  bottleneck: bool
  stages: tuple[int, ...]
  channels: int = 64  # of the first stage
  stem: Stem = "imagenet"
  zero_init_residual: bool = False  # whether each residual block starts as its shortcut (arXiv 1706.02677, section 5.1)
  bn_groups: int = 1
  dtype: jax.typing.DTypeLike = jnp.float32  # of the computation
  remat: bool = False

  def __call__(self, x: Array, *, train: bool) -> Array:
    """Maps images [b, h, w, c] to spatially averaged features, float32 [b, f]."""
    return self.feature_map(x, train=train).mean((1, 2), dtype=jnp.float32)

  @nn.compact
  def feature_map(self, x: Array, *, train: bool = False) -> Array:
    """Maps images [b, h, w, c] to the output of the last block, [b, rows, columns, f]."""
    # side, stride, padding
    stems = {"imagenet": (7, 2, 3), "cifar": (3, 1, 1), "cifar_pad": (3, 1, 2), "small": (3, 2, 1)}
    x = _conv(self.channels, *stems[self.stem], self.dtype, "conv1")(x)
    x = nn.relu(BatchNorm(groups=self.bn_groups, dtype=self.dtype, name="bn1")(x, train=train))
    if self.stem == "imagenet":
      x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))  # type: ignore[arg-type]
    for stage, blocks in enumerate(self.stages):
      for i in range(blocks):
        stride = 2 if stage > 0 and i == 0 else 1
        options = (self.bottleneck, self.zero_init_residual, self.bn_groups, self.dtype)
        x = block(self.remat, Block)(self.channels * 2**stage, stride, *options, name=f"layer{stage + 1}_{i}")(x, train)
    return x


def _conv(channels: int, side: int, stride: int, padding: int, dtype: jax.typing.DTypeLike, name: str) -> nn.Conv:
  init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
  options = {"kernel_init": init, "dtype": dtype, "conv_general_dilated": convolve, "name": name}
  return nn.Conv(channels, (side, side), stride, padding, use_bias=False, **options)


@register
class ResNetBackbone(Backbone):
  """ResNets. `width` multiplies the channels; BatchNorm statistics are computed in `bn_groups` groups of rows."""

  names = tuple(SIZES)
  in_torchvision = True
  torch_names = (
    (r"\b(layer\d+)_(\d+)\b", r"\1.\2"),
    (r"\bdownsample_conv$", "downsample.0"),
    (r"\bdownsample_bn$", "downsample.1"),
  )
  first_conv = "conv1.weight"
  width: float
  stem: Stem
  zero_init_residual: bool
  bn_groups: int
  remat: bool

  def build(self, dtype: jax.typing.DTypeLike, image_size: int) -> ResNet:
    """Builds the encoder."""
    require(1 <= 64 * self.width <= LARGEST_SIDE, "model.width", self.width, "1/64 (one channel) to 1024")
    bottleneck, stages = SIZES[self.name]
    options = (self.stem, self.zero_init_residual, self.bn_groups, dtype, self.remat)
    return ResNet(bottleneck, stages, int(64 * self.width), *options)

  @classmethod
  def infer(cls, shapes: Shapes) -> dict[str, Any]:
    """Infers the size, the width and the stem."""
    conv = first_shape(shapes, "conv1.weight")
    names = "\n".join(shapes)
    if len(conv) != 4 or not re.search(r"\blayer1\.", names):
      return {}
    stages = tuple(len(set(re.findall(rf"\blayer{i}\.(\d+)\.", names))) for i in range(1, 5))
    bottleneck = bool(re.search(r"\blayer1\.0\.conv3\.", names))
    name = next((name for name, size in SIZES.items() if size == (bottleneck, stages)), None)
    return ({"name": name} if name else {}) | {"width": conv[0] / 64, "stem": "imagenet" if conv[2] == 7 else "cifar"}

  def timm(self, channels: int, size: int) -> tuple[str, dict[str, Any]]:
    """Returns the model of timm."""
    require(self.name != "resnet10", "model.name", self.name, f"resnet18, resnet34 or resnet50 {FOR_TORCH}")
    require(self.stem == "imagenet", "model.stem", self.stem, f"imagenet {FOR_TORCH}")
    require(self.width == 1, "model.width", self.width, f"1 {FOR_TORCH}")
    return self.name, {"in_chans": channels}
