"""AdaSim's vote: sums the similarities of an image's past neighbors by neighbor and keeps the largest sums."""

import jax
import jax.numpy as jnp

from jaxssl.core.types import Array


def sum_votes(ids: Array, similarities: Array, k: int, num_images: int) -> tuple[Array, Array]:
  """Sums one image's similarities by distinct id and keeps the k largest sums (arXiv 2303.13606, section 3.2).

  ids: int32 [n], -1 where an entry is empty, all below `num_images`; similarities: [n]; vmap it over images.
  Returns (ids int32 [k], sums float32 [k]), largest first, ties to the smaller id; (-1, -inf) where fewer ids occur.
  """
  ids, values = _sort_by_id(ids, similarities.astype(jnp.float32), num_images)
  differs = ids[1:] != ids[:-1]
  first, last = jnp.append(True, differs), jnp.append(differs, True)

  def add(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
    return a[0] | b[0], jnp.where(b[0], b[1], a[1] + b[1])

  _, sums = jax.lax.associative_scan(add, (first, values))
  sums, places = jax.lax.top_k(jnp.where(last & (ids >= 0), sums, -jnp.inf), k)
  return jnp.where(jnp.isneginf(sums), -1, ids[places]), sums


def _sort_by_id(ids: Array, values: Array, num_images: int) -> tuple[Array, Array]:
  """Sorts by id. Id and place share one int32 key if both fit: a quarter of the time of a two-array sort on a CPU."""
  bits = (ids.size - 1).bit_length()
  if num_images << bits >= 2**31:
    ids, values = jax.lax.sort((ids, values), num_keys=1)
    return ids, values
  keys = jax.lax.sort((ids << bits) | jnp.arange(ids.size, dtype=jnp.int32), is_stable=False)
  return keys >> bits, values[keys & ((1 << bits) - 1)]
