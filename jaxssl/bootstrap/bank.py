"""AdaSim's neighbor bank: every image's features and past nearest neighbors, sharded over the devices (arXiv 2303.13606)."""

import jax
import jax.numpy as jnp

from jaxssl.core.types import Array, struct


@struct
class NeighborBank:
  """One row per image: n rows, padded so that the number of devices divides them. Arrays of n rows are sharded."""

  features: Array  # [n, f], unit features at each image's last visit; zeros before the first
  ids: Array  # int32 [n, w, k], the vote window of past nearest neighbors; -1: empty
  similarities: Array  # [n, w, k], float16 or float32
  partners: Array  # int32 [n], the image that supplies the second view in this epoch
  trusted: Array  # float32, share of the images that may bootstrap in this epoch
  slot: Array  # int32, the position in the window that this epoch writes


def carry_over(bank: NeighborBank, before: Array) -> NeighborBank:
  """Moves the rows of a bank to the positions that their images have in another training set.

  before: int32 [m], the row that each of the new rows had; -1: a new image, or padding, whose row is empty. Neighbors that are
  not in the new set leave the vote window; an image whose partner is not in it becomes its own partner.
  """
  rows, new = bank.features.shape[0], jnp.arange(len(before), dtype=jnp.int32)
  after = jnp.full(rows, -1, jnp.int32).at[jnp.where(before < 0, rows, before)].set(new, mode="drop")
  known, row = before >= 0, jnp.maximum(before, 0)
  ids = bank.ids[row]
  ids = jnp.where(known[:, None, None] & (ids >= 0), after[jnp.maximum(ids, 0)], -1)
  partners = jnp.where(known, after[bank.partners[row]], -1)
  return NeighborBank(
    features=jnp.where(known[:, None], bank.features[row], jnp.zeros((), bank.features.dtype)),
    ids=ids,
    similarities=jnp.where(ids < 0, jnp.zeros((), bank.similarities.dtype), bank.similarities[row]),
    partners=jnp.where(partners < 0, new, partners),
    trusted=bank.trusted,
    slot=bank.slot,
  )


def sum_votes(ids: Array, similarities: Array, k: int, num_images: int) -> tuple[Array, Array]:
  """Sums one image's similarities by distinct id and keeps the k largest sums (arXiv 2303.13606, section 3.2).

  ids: int32 [n], -1 for empty entries, all below `num_images`; similarities: [n]; vmap it over images.
  Returns (ids int32 [k], sums float32 [k]), largest first, ties to the smaller id; (-1, -inf) if fewer ids occur.
  """
  values, bits = similarities.astype(jnp.float32), (ids.size - 1).bit_length()
  if num_images << bits >= 2**31:
    ids, values = jax.lax.sort((ids, values), num_keys=1)
  else:  # id and place fit in one int32 key, which takes a quarter of the time on a CPU
    keys = jax.lax.sort((ids << bits) | jnp.arange(ids.size, dtype=jnp.int32), is_stable=False)
    ids, values = keys >> bits, values[keys & ((1 << bits) - 1)]
  differs = ids[1:] != ids[:-1]
  first, last = jnp.append(True, differs), jnp.append(differs, True)

  def add(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
    return a[0] | b[0], jnp.where(b[0], b[1], a[1] + b[1])

  _, sums = jax.lax.associative_scan(add, (first, values))
  sums, places = jax.lax.top_k(jnp.where(last & (ids >= 0), sums, -jnp.inf), k)
  return jnp.where(jnp.isneginf(sums), -1, ids[places]), sums
