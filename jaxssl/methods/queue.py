"""The queue of past keys that MoCo, ISD, NNCLR, MSF and SwAV keep."""

import jax
import jax.numpy as jnp

from jaxssl.core import UserError
from jaxssl.core.types import Array, struct
from jaxssl.methods.base import Dims
from jaxssl.ops.nearest import normalize


@struct
class Queue:
  """The newest keys of past batches, first in, first out, replicated on every device."""

  rows: Array  # float32 [n, d]
  labels: Array  # int32 [n], -1 unknown or never written; for logs only
  cursor: Array  # int32, the next row to be written


Queues = tuple[Queue, ...]  # one for each view


def random_queue(key: Array, rows: int, dims: Dims) -> Queue:
  """Returns a queue of random unit rows. Raises UserError unless the batch size divides their number."""
  whole, rest = divmod(rows, dims.batch)
  if whole < 1 or rest:
    nearest = " or ".join(str(count * dims.batch) for count in (whole, whole + 1) if count)
    raise UserError(f"method.queue={rows}: must be a multiple of train.batch_size={dims.batch}; nearest: {nearest}")
  return Queue(
    rows=normalize(jax.random.normal(key, (rows, dims.projection))),
    labels=jnp.full(rows, -1, jnp.int32),
    cursor=jnp.int32(0),
  )


def enqueue(queue: Queue, keys: Array, labels: Array) -> Queue:
  """Replaces the oldest rows with keys, float32 [b, d], and labels, int32 [b]; b divides the length of the queue."""
  return Queue(
    rows=jax.lax.dynamic_update_slice_in_dim(queue.rows, jax.lax.stop_gradient(keys), queue.cursor, 0),
    labels=jax.lax.dynamic_update_slice_in_dim(queue.labels, labels.astype(jnp.int32), queue.cursor, 0),
    cursor=(queue.cursor + len(keys)) % len(queue.rows),
  )


def purity(queue: Queue, rows: Array, labels: Array) -> Array:
  """Returns the share of each image's queue rows that carry its label, over images with a known one (NaN: none).

  rows: row numbers, int32 [b, k]; labels: int32 [b], -1 unknown.
  """
  same = jnp.mean(queue.labels[rows] == labels[:, None], axis=-1)
  return jnp.mean(same, where=labels >= 0)
