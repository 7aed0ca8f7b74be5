"""Cosine similarity and exact nearest neighbors, in chunks."""

import math

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from jaxssl.core.types import Array
from jaxssl.parallel.mesh import REPLICATED, ROWS, first_row


def normalize(x: Array, epsilon: float = 1e-12) -> Array:
  """Scales the last axis to unit length: x / max(|x|, epsilon), float32; zeros stay zeros, with a gradient of zeros."""
  x = x.astype(jnp.float32)
  return x / jnp.sqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), epsilon**2))


def dot(queries: Array, rows: Array) -> Array:
  """Returns inner products, float32 [b, n], of queries [b, d] and rows [n, d].

  Half-precision rows are multiplied as stored with float32 sums on an accelerator. A CPU has no fast half-precision product.
  """

  def exact(queries: Array, rows: Array) -> Array:
    return jnp.dot(queries, rows.astype(jnp.float32).T, precision=jax.lax.Precision.HIGHEST)

  def as_stored(queries: Array, rows: Array) -> Array:
    return jnp.dot(queries.astype(rows.dtype), rows.T, preferred_element_type=jnp.float32)

  if rows.dtype == jnp.float32:
    return exact(queries, rows)
  # The platform that is compiled for decides, which may not be this machine's.
  return jax.lax.platform_dependent(queries, rows, cpu=exact, default=as_stored)


def blockwise_top_k(x: Array, bias: Array, k: int) -> tuple[Array, Array]:
  """Computes lax.top_k of x + bias, long rows [b, n] and [1, n], in less time.

  The k largest values lie in the k blocks of the largest maxima. The sum is never stored. Ties also go to the smaller column,
  since the first of blocks with equal maxima are kept, in order.
  """
  block = math.gcd(x.shape[1], 64)
  if x.shape[1] // block <= 2 * k or block < 8:
    return jax.lax.top_k(x + bias, k)
  blocks, bias = x.reshape(len(x), -1, block), bias.reshape(1, -1, block)
  _, top_blocks = jax.lax.top_k((blocks + bias).max(axis=2), k)
  top_blocks = jnp.sort(top_blocks, axis=1)
  candidates = jnp.take_along_axis(blocks, top_blocks[:, :, None], axis=1) + bias[0, top_blocks]
  values, places = jax.lax.top_k(candidates.reshape(len(x), -1), k)
  return values, jnp.take_along_axis(top_blocks, places // block, axis=1) * block + places % block


def top_k_of_rows(x: Array, k: int) -> Array:
  """Computes the columns int32 [b, k] of `lax.top_k`, of finite x [b, n], for few k: rows stay on the device that holds them.

  XLA does not split `lax.top_k` by rows: it gathers all of x on every device, 524 MB for 1,024 images and a queue of 128,000.
  It splits maxima, so the largest of the k blocks with the largest maxima are taken one by one; as in `blockwise_top_k`, ties
  go to the smaller column.
  """

  def largest(x: Array, k: int) -> Array:
    columns = jnp.arange(x.shape[1], dtype=jnp.int32)[None]
    taken: list[Array] = []
    for _ in range(k):
      taken.append(jnp.argmax(x, axis=1).astype(jnp.int32))
      x = jnp.where(columns == taken[-1][:, None], -jnp.inf, x)
    return jnp.stack(taken, axis=1)

  block = math.gcd(x.shape[1], 64)
  if x.shape[1] // block <= 2 * k or block < 8:
    return largest(x, k)
  blocks = x.reshape(len(x), -1, block)
  top_blocks = jnp.sort(largest(blocks.max(axis=2), k), axis=1)
  candidates = jnp.take_along_axis(blocks, top_blocks[:, :, None], axis=1).reshape(len(x), -1)
  places = largest(candidates, k)
  return jnp.take_along_axis(top_blocks, places // block, axis=1) * block + places % block


def search(mesh: Mesh, bank: Array, usable: Array, queries: Array, k: int, chunk: int) -> tuple[Array, Array]:
  """Finds the k usable rows of a sharded bank with the largest inner product, exactly; ties go to the smaller row number.

  bank: [n, f], any float dtype; usable: bool [n]; queries: float32 [b, f]. Each device searches its own rows, at most `chunk`
  at a time; the best of all devices are kept.
  Returns (similarities float32 [b, k], row numbers int32 [b, k]), best first; (-inf, -1) if fewer than k rows are usable.
  """

  def best_of(values: Array, numbers: Array) -> tuple[Array, Array]:
    values, places = jax.lax.top_k(values, k)
    return values, jnp.take_along_axis(numbers, places, axis=1)

  def local(rows: Array, usable: Array, queries: Array) -> tuple[Array, Array]:
    def of_chunk(start: Array | int, size: int) -> tuple[Array, Array]:
      block, use = (jax.lax.dynamic_slice_in_dim(x, start, size) for x in (rows, usable))
      bias = jnp.where(use, jnp.float32(0), -jnp.inf)[None]
      values, places = blockwise_top_k(dot(queries, block), bias, min(k, size))
      return values, start + places

    def merge(best: tuple[Array, Array], start: Array) -> tuple[Array, Array]:
      return best_of(*(jnp.concatenate(pair, axis=1) for pair in zip(best, of_chunk(start, most), strict=True)))

    most = min(chunk, len(rows))
    whole, rest = divmod(len(rows) - 1, most)
    first = rest + 1  # rows in the first chunk, which may be smaller than the others
    missing = ((0, 0), (0, max(k - first, 0)))
    values, numbers = of_chunk(0, first)
    best = jnp.pad(values, missing, constant_values=-jnp.inf), jnp.pad(numbers, missing)
    values, numbers = jax.lax.fori_loop(0, whole, lambda i, best: merge(best, first + i * most), best)
    return values, jnp.where(jnp.isneginf(values), -1, numbers + first_row(rows))

  specs = (ROWS, ROWS, REPLICATED)
  find = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(None, *ROWS), check_vma=False)
  return best_of(*find(bank, usable, queries))  # of [b, k x devices]
