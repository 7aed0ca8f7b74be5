"""Vision transformers (arXiv 2010.11929) in DINO's layout (arXiv 2104.14294)."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxssl.core.errors import UserError
from jaxssl.core.types import Array
from jaxssl.models.init import dino_normal, torch_uniform

# name -> (width, heads); all have 12 blocks
SIZES = {"vit_ti": (192, 3), "vit_s": (384, 6), "vit_b": (768, 12)}


class Block(nn.Module):
  """Attention and MLP, each behind a LayerNorm. The sum that runs past them stays float32.

  While training with a "dropout" key, each branch of each row is left out with probability `drop_path` (arXiv 1603.09382).
  """

  heads: int
  drop_path: float
  dtype: jax.typing.DTypeLike

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """Maps tokens float32 [b, t, d] to the same shape. Sows "attention", float32 [b, heads, t, t]."""
    drop = nn.Dropout(self.drop_path, broadcast_dims=(1, 2), deterministic=not (train and self.has_rng("dropout")))
    dim = x.shape[-1]

    qkv = self._linear(3 * dim, "qkv")(self._norm("norm1")(x))
    q, k, v = jnp.moveaxis(qkv.reshape(*x.shape[:2], 3, self.heads, dim // self.heads), 2, 0)
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=jnp.float32)
    attention = jax.nn.softmax(scores * (dim // self.heads) ** -0.5)
    self.sow("intermediates", "attention", attention)
    y = jnp.einsum("bhqk,bkhd->bqhd", attention.astype(self.dtype), v).reshape(x.shape)
    x = x + drop(self._linear(dim, "proj")(y))

    y = self._linear(4 * dim, "fc1")(self._norm("norm2")(x))
    return x + drop(self._linear(dim, "fc2")(nn.gelu(y, approximate=False)))

  def _linear(self, dim: int, name: str) -> nn.Dense:
    return nn.Dense(dim, kernel_init=dino_normal, dtype=self.dtype, name=name)

  def _norm(self, name: str) -> nn.LayerNorm:
    return nn.LayerNorm(1e-6, use_fast_variance=False, dtype=self.dtype, name=name)


class ViT(nn.Module):
  """A class token, learned positions for square images of `image_size` pixels, pre-norm blocks, a final norm.

  Images of other sizes get the positions interpolated; see `positions`. Parameters are named as in DINO's networks, without
  the steps `attn`, `mlp` and (of the patches) `proj` in between.
  """

  dim: int
  depth: int
  heads: int
  patch: int
  image_size: int
  drop_path: float = 0.0  # of the last block; rises linearly from 0 at the first
  position_offset: float = 0.0
  dtype: jax.typing.DTypeLike = jnp.float32  # of the computation; norms and softmax are float32 inside

  def __call__(self, images: Array, *, train: bool) -> Array:
    """Maps images [b, h, w, c] to their class token after the last norm, float32 [b, dim]."""
    return self.tokens(images, train=train)[:, 0]

  @nn.compact
  def tokens(self, images: Array, *, train: bool = False) -> Array:
    """Maps images [b, h, w, c] to all tokens, float32 [b, 1 + patches, dim]: the class token, then the patches row by row.

    Raises UserError when the patch does not divide the image.
    """
    rows, height, width, channels = images.shape
    patch, native = self.patch, self.image_size // self.patch
    if height % patch or width % patch:
      raise UserError(f"model.patch={patch} does not divide an image of {height} x {width}: use multiples of {patch}")
    init = torch_uniform(fan_in=patch * patch * channels)
    patches = nn.Conv(
      self.dim,
      (patch, patch),
      strides=patch,
      padding="VALID",
      kernel_init=init,
      bias_init=init,
      dtype=self.dtype,
      name="patch_embed",
    )(images)
    first = self.param("cls_token", dino_normal, (1, 1, self.dim))
    embedding = self.param("pos_embed", dino_normal, (1, 1 + native * native, self.dim))

    x = jnp.concatenate([jnp.tile(first, (rows, 1, 1)), patches.reshape(rows, -1, self.dim)], axis=1)
    x = x + positions(embedding, (height // patch, width // patch), self.position_offset)
    for i, rate in enumerate(np.linspace(0.0, self.drop_path, self.depth)):
      x = Block(heads=self.heads, drop_path=float(rate), dtype=self.dtype, name=f"blocks_{i}")(x, train=train)
    return nn.LayerNorm(1e-6, use_fast_variance=False, name="norm")(x)


def positions(embedding: Array, grid: tuple[int, int], offset: float) -> Array:
  """Fits the embedding [1, 1 + n * n, d] of a class token and n x n patches to a grid of (rows, columns): [1, 1 + r * c, d].

  A grid other than n x n is interpolated: bicubic with a = -0.75, no antialiasing, the border repeated. An axis of m patches
  is scaled by (m + offset) / n: an offset of 0 is the exact ratio, 0.1 is what DINO's released weights expect.
  """
  native, dim = math.isqrt(embedding.shape[1] - 1), embedding.shape[2]
  if grid == (native, native):
    return embedding
  first, rest = embedding[:, :1], embedding[:, 1:].reshape(1, native, native, dim)
  down, across = (_bicubic(native, count, (count + offset) / native) for count in grid)
  rest = jnp.einsum("ri,cj,bijd->brcd", down, across, rest, precision=jax.lax.Precision.HIGHEST)
  return jnp.concatenate([first, rest.reshape(1, -1, dim)], axis=1)


def _bicubic(native: int, count: int, scale: float) -> np.ndarray:
  """Gives the weights [count, native], float32, with which cubic convolution (a = -0.75) resamples one axis."""
  source = (np.arange(count) + 0.5) / scale - 0.5
  start = np.floor(source).astype(int)
  weights = np.zeros((count, native))
  for tap in range(-1, 3):
    distance = np.abs(source - (start + tap))
    near = (1.25 * distance - 2.25) * distance**2 + 1
    far = -0.75 * (((distance - 5) * distance + 8) * distance - 4)
    np.add.at(weights, (np.arange(count), np.clip(start + tap, 0, native - 1)), np.where(distance <= 1, near, far))
  return weights.astype(np.float32)
