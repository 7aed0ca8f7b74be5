"""What lasts between steps: a queue of past keys; and of every image its features and neighbors, split over the devices."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxssl.bootstrap import voting
from jaxssl.core.types import Array, struct
from jaxssl.ops.nearest import search
from jaxssl.parallel.mesh import REPLICATED, ROWS, first_row


@struct
class NeighborBank:
  """AdaSim's memory, one row an image (n rows, padded so that the devices divide them); arrays of rows are sharded."""

  bank: Array  # [n, f] unit features of each image's last visit; a row of zeros was never visited
  ids: Array  # int32 [n, w, k], the window of past nearest neighbors; -1 where empty
  similarities: Array  # [n, w, k], float16 or float32
  partners: Array  # int32 [n], whose image gives the other view in this epoch
  trusted: Array  # float32, share of the images whose neighbors were trusted at this epoch's start
  slot: Array  # int32, the place in the window that this epoch writes


def empty_bank(rows: int, features: int, window: int, k: int, dtype: str, no_neighbor: int = -1) -> NeighborBank:
  """Makes the memory of `rows` images before the first epoch; everyone is its own partner."""
  return NeighborBank(
    bank=jnp.zeros((rows, features), dtype),
    ids=jnp.full((rows, window, k), no_neighbor, jnp.int32),
    similarities=jnp.zeros((rows, window, k), "float32" if dtype == "float32" else "float16"),
    partners=jnp.arange(rows, dtype=jnp.int32),
    trusted=jnp.float32(0),
    slot=jnp.int32(0),
  )


def update_bank(mesh: Mesh, memory: NeighborBank, index: Array, features: Array, usable: Array, chunk: int) -> NeighborBank:
  """Notes a batch's neighbors, then its features: the search sees the bank as it was before this batch.

  index: int32 [b]; features: float32 [b, f], unit length; usable: bool [n], rows that may be neighbors.
  """
  k = memory.ids.shape[-1]
  similarities, ids = search(mesh, memory.bank, usable, features, k, chunk)
  similarities = jnp.where(ids < 0, 0.0, similarities)

  def local(bank: Array, window_ids: Array, window: Array, new: tuple[Array, ...]) -> tuple[Array, Array, Array]:
    index, slot, features, ids, similarities = new
    row = index - first_row(bank)
    row = jnp.where((row >= 0) & (row < bank.shape[0]), row, bank.shape[0])  # another device's rows are dropped
    return (
      bank.at[row].set(features.astype(bank.dtype), mode="drop"),
      window_ids.at[row, slot].set(ids, mode="drop"),
      window.at[row, slot].set(similarities.astype(window.dtype), mode="drop"),
    )

  write = jax.shard_map(local, mesh=mesh, in_specs=(ROWS, ROWS, ROWS, REPLICATED), out_specs=ROWS, check_vma=False)
  new = (index, memory.slot, features, ids, similarities)
  bank, window_ids, window = write(memory.bank, memory.ids, memory.similarities, new)
  return dataclasses.replace(memory, bank=bank, ids=window_ids, similarities=window)


def vote(mesh: Mesh, memory: NeighborBank, block: int = 4096) -> tuple[Array, Array]:
  """Sums the window's similarities by neighbor and keeps each image's k largest: (ids int32 [n, k], sums float32 [n, k])."""
  rows, window, k = memory.ids.shape
  one = functools.partial(voting.sum_votes, k=k, num_images=rows)

  def local(ids: Array, similarities: Array) -> tuple[Array, Array]:
    flat = (ids.reshape(-1, window * k), similarities.reshape(-1, window * k))
    # Two halves side by side: sorts that do not wait for each other take two threads of a CPU.
    middle, odd = -(-len(ids) // 2), len(ids) % 2
    halves = tuple(x[:middle] for x in flat), tuple(x[middle - odd :] for x in flat)
    found = jax.lax.map(lambda pair: (one(*pair[0]), one(*pair[1])), halves, batch_size=block)
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b[odd:]]), *found)

  return jax.shard_map(local, mesh=mesh, in_specs=ROWS, out_specs=ROWS, check_vma=False)(memory.ids, memory.similarities)
