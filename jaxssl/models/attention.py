"""Softmax attention: cuDNN's fused kernel in half precision on NVIDIA GPUs, matrix products otherwise."""

import re

import jax
import jax.numpy as jnp

from jaxssl.core.types import Array

LARGEST_HEAD = 128  # features per head that cuDNN supports on every GPU since Ampere, in multiples of 8
AMPERE = 8.0


def attend(q: Array, k: Array, v: Array, padding: int = 0) -> Array:
  """Returns softmax(q k^T / sqrt(h)) v of queries, keys and values [b, t, heads, h]; the softmax is float32.

  The last tokens, as many as `padding` returns, are ignored: their output and gradients are 0. The fused kernel does not write
  the weights [b, heads, t, t] to memory.
  """
  if not has_fused_kernel(q.dtype, q.shape[-1]):
    return average(weights(q, k), v)
  # Lengths are given even without padding, since some versions of cuDNN return NaN as gradients without them
  # (NVIDIA/cudnn-frontend, issues 160 and 1072).
  lengths = jnp.full(q.shape[0], q.shape[1] - padding, jnp.int32)
  options = {"query_seq_lengths": lengths, "key_value_seq_lengths": lengths, "implementation": "cudnn"}
  return jax.nn.dot_product_attention(q, k, v, **options)


def padding(tokens: int, dtype: jax.typing.DTypeLike, head: int) -> int:
  """Returns how many tokens to append for `attend`, since for gradients of the fused kernel JAX refuses an odd number."""
  return tokens % 2 if has_fused_kernel(dtype, head) else 0


def weights(q: Array, k: Array) -> Array:
  """Returns the attention weights softmax(q k^T / sqrt(h)), float32 [b, heads, t, t]."""
  scores = jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=jnp.float32)
  return jax.nn.softmax(scores * q.shape[-1] ** -0.5)


def average(weights: Array, v: Array) -> Array:
  """Averages values [b, t, heads, h] by weights [b, heads, t, t], in the precision of the values."""
  return jnp.einsum("bhqk,bkhd->bqhd", weights.astype(v.dtype), v)


def has_fused_kernel(dtype: jax.typing.DTypeLike, head: int) -> bool:
  """Returns whether cuDNN computes attention of this precision with `head` features per head on this process's devices."""
  half = dtype in (jnp.bfloat16, jnp.float16)
  return half and head % 8 == 0 and head <= LARGEST_HEAD and _compute_capability() >= AMPERE


def _compute_capability() -> float:
  """Returns that of the first device if it is an NVIDIA GPU, otherwise 0."""
  version = getattr(jax.local_devices()[0], "compute_capability", "")
  return float(version) if re.fullmatch(r"\d+\.\d+", version) else 0.0
