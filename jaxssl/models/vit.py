"""Vision transformers (arXiv 2010.11929) in DINO's layout (arXiv 2104.14294)."""

import math
import re
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxssl.core import UserError, require
from jaxssl.core.types import Array, PyTree
from jaxssl.models import attention
from jaxssl.models.backbone import LARGEST_SIDE, Backbone, Shapes, block, first_shape, register
from jaxssl.models.gelu import gelu
from jaxssl.models.heads import normal_002, torch_uniform, xavier_uniform
from jaxssl.models.norm import LayerNorm
from jaxssl.models.positions import positions, sincos

SIZES = {"vit_ti": (192, 3), "vit_s": (384, 6), "vit_b": (768, 12)}  # name -> (embedding dimension, attention heads)
DEPTH = 12  # blocks of all sizes
Positions = Literal["learned", "sincos"]
Init = Literal["normal", "xavier"]


class Block(nn.Module):
  """A pre-norm transformer block whose residual stream stays float32.

  In training with a "dropout" key, each branch of each row is dropped with probability `drop_path` (arXiv 1603.09382).
  """

  heads: int
  drop_path: float
  initialization: Init
  dtype: jax.typing.DTypeLike
  padding: int = 0  # tokens at the end that are ignored, see `attention.padding`

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    """Maps tokens float32 [b, t, d] to the same shape. Sows "attention", float32 [b, heads, t, t], if it can be sown."""
    drop = nn.Dropout(self.drop_path, broadcast_dims=(1, 2), deterministic=not (train and self.has_rng("dropout")))
    dim = x.shape[-1]

    qkv = self._linear(3 * dim, "qkv", parts=3)(LayerNorm(self.dtype, name="norm1")(x))
    q, k, v = jnp.moveaxis(qkv.reshape(*x.shape[:2], 3, self.heads, dim // self.heads), 2, 0)
    if self.is_mutable_collection("intermediates"):
      weights = attention.weights(q, k)
      self.sow("intermediates", "attention", weights)
      y = attention.average(weights, v)
    else:
      y = attention.attend(q, k, v, self.padding)
    x = x + drop(self._linear(dim, "proj")(y.reshape(x.shape)))

    y = self._linear(4 * dim, "fc1")(LayerNorm(self.dtype, name="norm2")(x))
    return x + drop(self._linear(dim, "fc2")(gelu(y)))

  def _linear(self, dim: int, name: str, parts: int = 1) -> nn.Dense:
    """Builds a Linear of `dim` outputs, of which `parts` layers side by side have an equal share."""
    init = normal_002 if self.initialization == "normal" else xavier_uniform(parts)
    return nn.Dense(dim, kernel_init=init, dtype=self.dtype, name=name)


class ViT(nn.Module):
  """A vision transformer with a class token and positions, which are interpolated for images of another size.

  Positions are learned, or fixed sines and cosines. The initialization is DINO's (`normal`) or MoCo v3's (`xavier`).
  Parameters are named as in DINO's networks, without the levels `attn`, `mlp` and `patch_embed.proj`.
  """

  dim: int
  heads: int
  depth: int
  patch: int
  image_size: int  # pixels per side that the positions are for
  drop_path: float = 0.0  # of the last block; increases linearly from 0 in the first
  position_offset: float = 0.0
  positions: Positions = "learned"
  initialization: Init = "normal"
  remat: bool = False
  dtype: jax.typing.DTypeLike = jnp.float32  # of the computation; norms and softmax compute in float32

  def __call__(self, images: Array, *, train: bool) -> Array:
    """Maps images [b, h, w, c] to the class token after the final norm, float32 [b, dim]."""
    return self.tokens(images, train=train)[:, 0]

  @nn.compact
  def tokens(self, images: Array, *, train: bool = False) -> Array:
    """Maps images [b, h, w, c] to all tokens, float32 [b, 1 + patches, dim]: the class token, then the patches row by row.

    Raises UserError if the patch size does not divide the image size.
    """
    rows, height, width, channels = images.shape
    patch, native = self.patch, self.image_size // self.patch
    if height % patch or width % patch:
      raise UserError(f"model.patch={patch} does not divide an image of {height} x {width}; use a multiple of {patch}")
    uniform = torch_uniform(fan_in=patch * patch * channels)
    inits = (
      {"kernel_init": uniform, "bias_init": uniform} if self.initialization == "normal" else {"kernel_init": xavier_uniform()}
    )
    options = {"dtype": self.dtype, "name": "patch_embed"}
    patches = nn.Conv(self.dim, (patch, patch), patch, "VALID", **inits, **options)(images)
    token_init = normal_002 if self.initialization == "normal" else nn.initializers.normal(1e-6)
    first = self.param("cls_token", token_init, (1, 1, self.dim))
    embedding = self._positions(native)

    x = jnp.concatenate([jnp.tile(first, (rows, 1, 1)), patches.reshape(rows, -1, self.dim)], axis=1)
    x = x + positions(embedding, (height // patch, width // patch), self.position_offset)
    count, padding = x.shape[1], 0
    if not self.is_mutable_collection("intermediates"):
      padding = attention.padding(count, self.dtype, self.dim // self.heads)
      x = jnp.pad(x, ((0, 0), (0, padding), (0, 0)))
    norm, firsts = LayerNorm(jnp.float32, name="norm"), []
    for i, rate in enumerate(np.linspace(0.0, self.drop_path, self.depth)):
      options = {"heads": self.heads, "initialization": self.initialization, "dtype": self.dtype, "name": f"blocks_{i}"}
      x = block(self.remat, Block)(drop_path=float(rate), padding=padding, **options)(x, train)
      firsts.append(x[:, 0])
    if self.is_mutable_collection("blocks"):
      self.sow("blocks", "class_tokens", [norm(first) for first in firsts])
    return norm(x[:, :count])

  def feature_map(self, images: Array) -> Array:
    """Maps images [b, h, w, c] to the tokens of the patches, float32 [b, rows, columns, dim]."""
    rows, columns = (side // self.patch for side in images.shape[1:3])
    return self.tokens(images)[:, 1:].reshape(len(images), rows, columns, -1)

  def _positions(self, side: int) -> Array:
    if self.positions == "learned":
      return self.param("pos_embed", normal_002, (1, 1 + side * side, self.dim))
    # A parameter, so that files have it; `ViTBackbone.frozen` excludes it from updates.
    return jax.lax.stop_gradient(self.param("pos_embed", lambda _: jnp.asarray(sincos(side, self.dim))))

  def last_blocks(self, images: Array, count: int) -> Array:
    """Maps images [b, h, w, c] to the class tokens of the last `count` blocks, each normalized, float32 [b, count * dim]."""
    self.tokens(images)
    return jnp.concatenate(self.variables["blocks"]["class_tokens"][0][-count:], axis=1)

  def attention(self, images: Array) -> Array:
    """Maps images [b, h, w, c] to the class token's attention to the patches, float32 [b, heads, rows, columns].

    It is that of the last block, and sums to 1 together with the token's attention to itself.
    """
    self.tokens(images)
    (weights,) = self.variables["intermediates"][f"blocks_{self.depth - 1}"]["attention"]
    return weights[:, :, 0, 1:].reshape(len(images), -1, *(side // self.patch for side in images.shape[1:3]))

  def resized(self, params: PyTree, size: int) -> tuple["ViT", PyTree]:
    """Returns the encoder and its parameters for square images of `size` pixels, with interpolated positions."""
    if size % self.patch:
      raise UserError(f"evals.size={size} is not allowed: model.patch={self.patch} does not divide it")
    side = size // self.patch
    embedding = positions(jnp.asarray(params["pos_embed"]), (side, side), self.position_offset)
    return self.clone(image_size=size), {**params, "pos_embed": np.asarray(embedding)}


def resize_patches(kernel: np.ndarray, side: int) -> np.ndarray:
  """Resizes patch kernels [out, in, p, p] to [out, in, side, side] (FlexiViT, arXiv 2212.08013).

  w' = pinv(B^T) w, where B is the bicubic resize of a patch, so that a resized patch has the response of the original one.
  """
  out, channels, native, _ = kernel.shape
  basis = np.eye(native * native, dtype=np.float32).reshape(native * native, native, native)
  resize = jax.image.resize(basis, (native * native, side, side), "bicubic", antialias=False)
  inverse = np.linalg.pinv(np.asarray(resize, np.float64).reshape(native * native, side * side))  # [side^2, p^2]
  return (kernel.reshape(out * channels, -1) @ inverse.T).reshape(out, channels, side, side).astype(np.float32)


@register
class ViTBackbone(Backbone):
  """Vision transformers. `depth` is the number of blocks (0: 12); `drop_path` the rate of the last block.

  `heads`: attention heads of each block (0: one per 64 dimensions).
  """

  names = tuple(SIZES)
  torch_names = (
    (r"\bblocks_(\d+)\.(qkv|proj)$", r"blocks_\1.attn.\2"),
    (r"\bblocks_(\d+)\.(fc\d)$", r"blocks_\1.mlp.\2"),
    (r"\bblocks_(\d+)\b", r"blocks.\1"),
    (r"\bpatch_embed$", "patch_embed.proj"),
  )
  first_conv = "patch_embed.proj.weight"
  torch_classifier = "head"
  heads: int
  depth: int
  patch: int
  drop_path: float
  position_offset: float
  positions: Positions
  init: Init
  remat: bool

  @property
  def frozen(self) -> tuple[str, ...]:
    """The positions, if they are fixed."""
    return ("pos_embed",) if self.positions == "sincos" else ()

  def build(self, dtype: jax.typing.DTypeLike, image_size: int) -> ViT:
    """Builds the encoder, with positions for images of `image_size` pixels."""
    require(0 <= self.depth <= 1000, "model.depth", self.depth, "0 (12 blocks) to 1000")
    require(0 <= self.drop_path < 1, "model.drop_path", self.drop_path, "at least 0 and below 1")
    require(self.position_offset >= 0, "model.position_offset", self.position_offset, "at least 0")
    require(self.patch >= 1, "model.patch", self.patch, "at least 1")
    fits = 0 < image_size <= LARGEST_SIDE and image_size % self.patch == 0
    require(fits, "model.patch", self.patch, f"a divisor of the image size, {image_size}")
    dim, heads = SIZES[self.name]
    heads = self.heads or heads
    require(heads > 0 and dim % heads == 0, "model.heads", heads, f"0 ({SIZES[self.name][1]} heads) or a divisor of {dim}")
    sizes = {"dim": dim, "heads": heads, "depth": self.depth or DEPTH, "patch": self.patch, "image_size": image_size}
    shared = {name: getattr(self, name) for name in ("drop_path", "position_offset", "positions", "remat")}
    return ViT(**sizes, **shared, initialization=self.init, dtype=dtype)

  @classmethod
  def infer(cls, shapes: Shapes) -> dict[str, Any]:
    """Infers the size and the depth."""
    token = first_shape(shapes, "cls_token")
    if len(token) != 3:
      return {}
    blocks = {int(i) for name in shapes for i in re.findall(r"\bblocks\.(\d{1,4})\.", name)}
    name = next((name for name, (dim, _) in SIZES.items() if dim == token[2]), None)
    return ({"name": name} if name else {}) | {"depth": max(blocks, default=-1) + 1}

  def fit(self, name: str, tensor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Fits positions to another grid, and patch kernels to another patch size or to one channel."""
    tensor = super().fit(name, tensor, shape)
    # Larger patches would need a huge pseudo-inverse.
    square = tensor.ndim == 4 and tensor.size and tensor.shape[2] == tensor.shape[3] <= 64
    if name == self.first_conv and square and tensor.shape[2:] != shape[2:]:
      return resize_patches(tensor, shape[-1])
    if name == "pos_embed" and tensor.ndim == 3 and tensor.shape[::2] == shape[::2] and 1 < tensor.shape[1] != shape[1]:
      native, side = (math.isqrt(count - 1) for count in (tensor.shape[1], shape[1]))
      if native**2 + 1 == tensor.shape[1]:
        return np.asarray(positions(jnp.asarray(tensor), (side, side), self.position_offset))
    return tensor

  def timm(self, channels: int, size: int) -> tuple[str, dict[str, Any]]:
    """Returns the model of timm."""
    name = {"vit_ti": "vit_tiny", "vit_s": "vit_small", "vit_b": "vit_base"}[self.name] + "_patch16_224"
    heads = {"num_heads": self.heads} if self.heads else {}
    return name, {"in_chans": channels, "img_size": size, "patch_size": self.patch, "depth": self.depth or DEPTH, **heads}
