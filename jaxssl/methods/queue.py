"""The queue of past keys that MoCo, ISD, NNCLR, MSF and SwAV keep."""

import jax
import jax.numpy as jnp

from jaxssl.core.types import Array, struct
from jaxssl.ops.nearest import normalize


@struct
class Queue:
  """The newest keys of past batches, first in, first out, replicated on every device."""

  rows: Array  # float32 [n, d]
  labels: Array  # int32 [n], -1 unknown or never written; for logs only
  cursor: Array  # int32, the next row to be written


def random_queue(key: Array, rows: int, width: int) -> Queue:
  """Returns a queue of random unit rows."""
  return Queue(
    rows=normalize(jax.random.normal(key, (rows, width))),
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
