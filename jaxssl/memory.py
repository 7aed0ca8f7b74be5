"""What lasts between steps: a queue of past keys; and of every image its features and neighbours, split over the devices."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxssl.ops import similarity, votes
from jaxssl.ops.similarity import normalize
from jaxssl.parallel import EVERYWHERE, ROWS, first_row
from jaxssl.types import Array, struct


@struct
class Queue:
  """The newest keys of past batches, first in, first out; the same on every device."""

  rows: Array  # float32 [n, d]
  labels: Array  # int32 [n], -1 unknown or never written; for logs only
  cursor: Array  # int32, the row that is written next


def random_queue(key: Array, rows: int, width: int) -> Queue:
  """Makes a queue of random unit rows."""
  return Queue(
    rows=normalize(jax.random.normal(key, (rows, width))),
    labels=jnp.full(rows, -1, jnp.int32),
    cursor=jnp.int32(0),
  )


def enqueue(queue: Queue, keys: Array, labels: Array) -> Queue:
  """Replaces the oldest rows by keys float32 [b, d] with labels int32 [b]; b divides the queue's length."""
  return Queue(
    rows=jax.lax.dynamic_update_slice_in_dim(queue.rows, jax.lax.stop_gradient(keys), queue.cursor, 0),
    labels=jax.lax.dynamic_update_slice_in_dim(queue.labels, labels.astype(jnp.int32), queue.cursor, 0),
    cursor=(queue.cursor + len(keys)) % len(queue.rows),
  )


@struct
class Neighbors:
  """AdaSim's memory, one row an image (n rows, padded so that the devices divide them); arrays of rows are sharded."""

  bank: Array  # [n, f] unit features of each image's last visit; a row of zeros was never visited
  ids: Array  # int32 [n, w, k], the window of past nearest neighbours; -1 where empty
  similarities: Array  # [n, w, k], float16 or float32
  partners: Array  # int32 [n], whose picture gives the other view in this epoch
  trusted: Array  # float32, share of the images whose neighbours were trusted at this epoch's start
  slot: Array  # int32, the place in the window that this epoch writes


def empty(rows: int, features: int, window: int, k: int, dtype: str, no_neighbor: int = -1) -> Neighbors:
  """Makes the memory of `rows` images before the first epoch; everyone is its own partner."""
  return Neighbors(
    bank=jnp.zeros((rows, features), dtype),
    ids=jnp.full((rows, window, k), no_neighbor, jnp.int32),
    similarities=jnp.zeros((rows, window, k), "float32" if dtype == "float32" else "float16"),
    partners=jnp.arange(rows, dtype=jnp.int32),
    trusted=jnp.float32(0),
    slot=jnp.int32(0),
  )


def search(mesh: Mesh, bank: Array, usable: Array, queries: Array, k: int, chunk: int) -> tuple[Array, Array]:
  """Finds the k nearest usable (bool [n]) rows of a sharded bank [n, f] for queries float32 [b, f]; see ops.similarity.top_k.

  Each device searches its own rows; the best of all devices' answers are kept.
  """

  def local(rows: Array, usable: Array, queries: Array) -> tuple[Array, Array]:
    values, numbers = similarity.top_k(queries, rows, usable, k, chunk)
    return values[None], jnp.where(numbers < 0, -1, numbers + first_row(rows))[None]

  find = jax.shard_map(local, mesh=mesh, in_specs=(ROWS, ROWS, EVERYWHERE), out_specs=ROWS, check_vma=False)
  found = find(bank, usable, queries)
  values, numbers = (jnp.moveaxis(x, 0, 1).reshape(queries.shape[0], -1) for x in found)
  values, places = jax.lax.top_k(values, k)
  return values, jnp.take_along_axis(numbers, places, axis=1)


def visit(mesh: Mesh, memory: Neighbors, index: Array, features: Array, usable: Array, chunk: int) -> Neighbors:
  """Notes a batch's neighbours, then its features: the search sees the bank as it was before this batch.

  index: int32 [b]; features: float32 [b, f], unit length; usable: bool [n], rows that may be neighbours.
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

  write = jax.shard_map(local, mesh=mesh, in_specs=(ROWS, ROWS, ROWS, EVERYWHERE), out_specs=ROWS, check_vma=False)
  new = (index, memory.slot, features, ids, similarities)
  bank, window_ids, window = write(memory.bank, memory.ids, memory.similarities, new)
  return dataclasses.replace(memory, bank=bank, ids=window_ids, similarities=window)


def count_votes(mesh: Mesh, memory: Neighbors, block: int = 4096) -> tuple[Array, Array]:
  """Sums the window's similarities by neighbour and keeps each image's k largest: (ids int32 [n, k], sums float32 [n, k])."""
  rows, window, k = memory.ids.shape
  one = functools.partial(votes.tally, k=k, num_images=rows)

  def local(ids: Array, similarities: Array) -> tuple[Array, Array]:
    flat = (ids.reshape(-1, window * k), similarities.reshape(-1, window * k))
    # Two halves side by side: sorts that do not wait for each other take two threads of a CPU.
    middle, odd = -(-len(ids) // 2), len(ids) % 2
    halves = tuple(x[:middle] for x in flat), tuple(x[middle - odd :] for x in flat)
    found = jax.lax.map(lambda pair: (one(*pair[0]), one(*pair[1])), halves, batch_size=block)
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b[odd:]]), *found)

  return jax.shard_map(local, mesh=mesh, in_specs=ROWS, out_specs=ROWS, check_vma=False)(memory.ids, memory.similarities)
