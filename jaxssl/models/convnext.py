"""ConvNeXt (arXiv 2201.03545) as in timm."""

import re
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxssl.core import require
from jaxssl.core.types import Array
from jaxssl.models.backbone import FOR_TORCH, LARGEST_SIDE, Backbone, Shapes, block, first_shape, register
from jaxssl.models.gelu import gelu
from jaxssl.models.heads import normal_002
from jaxssl.models.norm import LayerNorm

SIZES = {"convnext_tiny": ((3, 3, 9, 3), (96, 192, 384, 768))}  # name -> (blocks, channels) of the four stages
STEMS = {"imagenet": 4, "small": 2, "cifar": 1, "cifar_pad": 1}  # side of a patch in pixels


class Block(nn.Module):
  """A depthwise 7x7 convolution, LayerNorm, and an MLP with exact GELU; the residual stream stays float32.

  LayerScale multiplies the branch, which in training with a "dropout" key is dropped per row with probability `drop_path`.
  """

  drop_path: float
  dtype: jax.typing.DTypeLike

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    """Maps float32 [b, h, w, c] to the same shape."""
    drop = nn.Dropout(self.drop_path, broadcast_dims=(1, 2, 3), deterministic=not (train and self.has_rng("dropout")))
    channels = x.shape[-1]
    y = _conv(channels, 7, self.dtype, "conv_dw", strides=1, padding=3, feature_group_count=channels)(x)
    y = LayerNorm(self.dtype, name="norm")(y)
    y = nn.Dense(4 * channels, kernel_init=normal_002, dtype=self.dtype, name="fc1")(y)
    y = nn.Dense(channels, kernel_init=normal_002, dtype=self.dtype, name="fc2")(gelu(y))
    gamma = self.param("gamma", nn.initializers.constant(1e-6), (channels,))
    return x + drop(gamma.reshape(1, 1, 1, channels) * y)


class ConvNeXt(nn.Module):
  """Four stages of blocks, with LayerNorm and a 2x2 convolution of stride 2 between them.

  Modules are named as in timm, with `_` for dots (`stages_0_blocks_1` is `stages.0.blocks.1`) and without the level `mlp`.
  """

  depths: tuple[int, ...]
  dims: tuple[int, ...]
  patch: int = 4
  drop_path: float = 0.0  # of the last block; increases linearly from 0 in the first
  remat: bool = False
  dtype: jax.typing.DTypeLike = jnp.float32  # of the computation; norms compute in float32

  def __call__(self, images: Array, *, train: bool) -> Array:
    """Maps images [b, h, w, c] to spatially averaged and normalized features, float32 [b, dims[-1]]."""
    return self._features(images, train, average=True)

  def feature_map(self, images: Array) -> Array:
    """Maps images [b, h, w, c] to normalized features of each position, float32 [b, rows, columns, dims[-1]]."""
    return self._features(images, train=False, average=False)

  @nn.compact
  def _features(self, images: Array, train: bool, average: bool) -> Array:
    x = _conv(self.dims[0], self.patch, self.dtype, "stem_0")(images)
    x = LayerNorm(jnp.float32, name="stem_1")(x)
    rates = iter(np.linspace(0.0, self.drop_path, sum(self.depths)))
    for stage, (blocks, channels) in enumerate(zip(self.depths, self.dims, strict=True)):
      if stage > 0:
        x = LayerNorm(self.dtype, name=f"stages_{stage}_downsample_0")(x)
        # Images below 32 pixels, on which timm fails, have maps of one pixel here; these are padded.
        padding = "SAME" if min(x.shape[1:3]) == 1 else "VALID"
        x = _conv(channels, 2, self.dtype, f"stages_{stage}_downsample_1", padding=padding)(x).astype(jnp.float32)
      for i in range(blocks):
        options = {"drop_path": float(next(rates)), "dtype": self.dtype, "name": f"stages_{stage}_blocks_{i}"}
        x = block(self.remat, Block)(**options)(x, train)
    return LayerNorm(jnp.float32, name="head_norm")(x.mean((1, 2)) if average else x)


def _conv(channels: int, side: int, dtype: jax.typing.DTypeLike, name: str, **options: Any) -> nn.Conv:
  """Builds a convolution, by default of patches: stride `side`, without padding."""
  options = {"strides": side, "padding": "VALID"} | options
  return nn.Conv(channels, (side, side), kernel_init=normal_002, dtype=dtype, name=name, **options)


@register
class ConvNeXtBackbone(Backbone):
  """ConvNeXts. `width` multiplies the channels, `depth` limits the blocks of each stage (0: no limit).

  The stem is 4x4 with stride 4 (`imagenet`), 2x2 with stride 2 (`small`) or 1x1 (`cifar`, `cifar_pad`).
  """

  names = tuple(SIZES)
  torch_names = (
    (r"\bstem_(\d)$", r"stem.\1"),
    (r"\b(stages_\d+_blocks_\d+)\.(fc\d)$", r"\1.mlp.\2"),
    (r"\bstages_(\d+)_(blocks|downsample)_(\d+)\b", r"stages.\1.\2.\3"),
    (r"\bhead_norm$", "head.norm"),
  )
  first_conv = "stem.0.weight"
  torch_classifier = "head.fc"
  width: float
  stem: Literal["imagenet", "cifar", "cifar_pad", "small"]
  depth: int
  drop_path: float
  remat: bool

  def build(self, dtype: jax.typing.DTypeLike, image_size: int) -> ConvNeXt:
    """Builds the encoder."""
    require(1 <= 96 * self.width <= LARGEST_SIDE, "model.width", self.width, "1/96 (one channel) to 682")
    require(self.depth >= 0, "model.depth", self.depth, "0 (no limit) or the largest number of blocks per stage")
    require(0 <= self.drop_path < 1, "model.drop_path", self.drop_path, "at least 0 and below 1")
    depths, dims = self._sizes
    return ConvNeXt(depths=depths, dims=dims, patch=STEMS[self.stem], drop_path=self.drop_path, remat=self.remat, dtype=dtype)

  @property
  def _sizes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
    depths, dims = SIZES[self.name]
    first = int(dims[0] * self.width)
    return tuple(min(blocks, self.depth or blocks) for blocks in depths), tuple(first * dim // dims[0] for dim in dims)

  @classmethod
  def infer(cls, shapes: Shapes) -> dict[str, Any]:
    """Infers the width, the stem and the depth."""
    conv = first_shape(shapes, "stem.0.weight")
    counts = [len(set(re.findall(rf"\bstages\.{i}\.blocks\.(\d+)\.", "\n".join(shapes)))) for i in range(4)]
    stem = next((stem for stem, patch in STEMS.items() if conv[2:] == (patch, patch)), None)
    depth = max(counts)
    for name, (depths, dims) in SIZES.items():
      if conv and stem and depth and counts == [min(blocks, depth) for blocks in depths]:
        return {"name": name, "width": conv[0] / dims[0], "stem": stem, "depth": 0 if depth == max(depths) else depth}
    return {}

  def timm(self, channels: int, size: int) -> tuple[str, dict[str, Any]]:
    """Returns the model of timm, in which a stem of 2x2 has no counterpart."""
    require(self.stem != "small", "model.stem", self.stem, f"imagenet or cifar {FOR_TORCH}")
    depths, dims = self._sizes
    return self.name, {"in_chans": channels, "patch_size": STEMS[self.stem], "depths": [*depths], "dims": [*dims]}
