"""Looks up the partners of this process's images in the sharded bank, which no host ever holds in full."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxssl.core.types import Array
from jaxssl.parallel.mesh import AXIS, ROWS, first_row, global_rows, local_rows

CHUNK = 2**22  # images of all processes that are looked up at a time, which bounds the memory on a device


def partners_of(mesh: Mesh, partners: Array, index: np.ndarray) -> np.ndarray:
  """Returns the partners of images, int32 in the shape of `index`; all processes must call it for the same steps.

  partners: int32 [n], sharded by rows; index: int32 [steps, b], this process's columns of the batches.
  """
  steps, own = index.shape
  size = min(max(CHUNK * len(mesh.local_devices) // (own * mesh.size), 1), steps)
  result = np.empty_like(index)
  for first in range(0, steps, size):
    part = index[first : first + size]
    padded = np.pad(part, ((0, size - len(part)), (0, 0)))  # one shape, compiled once
    result[first : first + size] = local_rows(_look_up(mesh, partners, global_rows(mesh, padded.T))).T[: len(part)]
  return result


@functools.partial(jax.jit, static_argnums=0)
def _look_up(mesh: Mesh, partners: Array, index: Array) -> Array:
  """Looks up int32 [b, steps], sharded by rows: each device answers for its own rows of the bank."""

  def local(partners: Array, index: Array) -> Array:
    row = jax.lax.all_gather(index, AXIS, tiled=True) - first_row(partners)
    here = (row >= 0) & (row < len(partners))
    return jax.lax.psum_scatter(jnp.where(here, partners[jnp.where(here, row, 0)], 0), AXIS, tiled=True)

  return jax.shard_map(local, mesh=mesh, in_specs=(ROWS, ROWS), out_specs=ROWS, check_vma=False)(partners, index)
