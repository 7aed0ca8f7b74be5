"""Softmax attention: cuDNN's fused kernel in half precision on NVIDIA GPUs, matrix products otherwise."""

import re

import jax
import jax.numpy as jnp

from jaxssl.core.types import Array

LARGEST_HEAD = 128  # features per head that cuDNN supports on every GPU since Ampere, in multiples of 8
AMPERE = 8.0


def attend(q: Array, k: Array, v: Array) -> Array:
  """Returns softmax(q k^T / sqrt(h)) v of queries, keys and values [b, t, heads, h]; the softmax is float32.

  The fused kernel does not write the weights [b, heads, t, t] to memory.
  """
  return _fused(q, k, v) if has_fused_kernel(q.dtype, q.shape[-1]) else average(weights(q, k), v)


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


def _fused(q: Array, k: Array, v: Array) -> Array:
  rows, tokens = q.shape[:2]
  if tokens % 2 == 0:
    return jax.nn.dot_product_attention(q, k, v, implementation="cudnn")
  # For gradients, JAX refuses an odd number of tokens. An added token is masked by the lengths.
  q, k, v = (jnp.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0))) for x in (q, k, v))
  lengths = jnp.full(rows, tokens, jnp.int32)
  options = {"query_seq_lengths": lengths, "key_value_seq_lengths": lengths, "implementation": "cudnn"}
  return jax.nn.dot_product_attention(q, k, v, **options)[:, :tokens]
