"""Builds the one-axis mesh and the shardings of the train state, and moves arrays between hosts and devices."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxssl.core.types import Array, PyTree

AXIS = "data"
ROWS = PartitionSpec(AXIS)
REPLICATED = PartitionSpec()
LARGE = 2**14  # elements; smaller leaves are not worth sharding


def default_devices() -> Sequence[Any]:
  """Returns the devices that a run uses: all of them. Tests replace it."""
  return jax.devices()


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
  """Returns a mesh of all devices, or of the given ones, along the data axis; devices of a process are adjacent."""
  devices = default_devices() if devices is None else devices
  if jax.process_count() == 1:  # in the order of a TPU's links
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)
  by_process = sorted(devices, key=lambda device: (device.process_index, device.id))
  return Mesh(np.array(by_process), (AXIS,), axis_types=(AxisType.Auto,))


def abstract_mesh(size: int) -> jax.sharding.AbstractMesh:
  """Returns a mesh of `size` devices that need not exist. It determines shardings, but nothing can be compiled for it."""
  return jax.sharding.AbstractMesh((size,), (AXIS,), axis_types=(AxisType.Auto,))


def compute_precision(mesh: Any, precision: str) -> str:
  """Returns the precision in which networks compute on a mesh: `precision`, but float32 on CPUs.

  CPUs have no fast bfloat16, and jaxlib 0.12.0.1 miscompiles it there: NaN from finite weights. An abstract mesh counts as an
  accelerator.
  """
  return "float32" if isinstance(mesh, Mesh) and mesh.devices.flat[0].platform == "cpu" else precision


def state_shardings(state: PyTree, mesh: Mesh, fsdp: bool = False) -> PyTree:
  """Returns the sharding of every leaf of a state (arrays or shapes) by its path. `fsdp`: large leaves are sharded as well."""

  def rule(path: Any, leaf: Any) -> NamedSharding:
    if leaf.shape and ".neighbor_bank" in jax.tree_util.keystr(path):  # the first axis counts images
      return NamedSharding(mesh, ROWS)
    fitting = [axis for axis, size in enumerate(leaf.shape) if size % mesh.size == 0]
    if not fsdp or leaf.size < LARGE or not fitting:
      return NamedSharding(mesh, REPLICATED)
    longest = max(fitting, key=lambda axis: leaf.shape[axis])
    return NamedSharding(mesh, PartitionSpec(*[AXIS if axis == longest else None for axis in range(len(leaf.shape))]))

  return jax.tree_util.tree_map_with_path(rule, state)


def padded_rows(rows: int, mesh: Mesh) -> int:
  """Rounds rows up to a multiple of the mesh size and of 8, or 1024 if large, so that a state fits that many devices."""
  unit = int(np.lcm(1024 if rows >= 2**17 else 8, mesh.size))
  return -(-rows // unit) * unit


def first_row(block: Array) -> Array:
  """Returns, inside shard_map, the global number of the first row of this device's block."""
  return jax.lax.axis_index(AXIS) * block.shape[0]


def local_slice(mesh: Mesh, rows: int) -> slice:
  """Returns which of `rows` rows this process holds, all of them if it is the only process. The mesh size divides `rows`."""
  places = [place for place, device in enumerate(mesh.devices.flat) if device.process_index == jax.process_index()]
  each = rows // mesh.size
  return slice(places[0] * each, (places[-1] + 1) * each)


def global_rows(mesh: Mesh, rows: PyTree) -> PyTree:
  """Builds global arrays, sharded by rows, from this process's own rows (NumPy)."""
  sharding = NamedSharding(mesh, ROWS)
  with jax.transfer_guard_host_to_device("allow"):  # an intended transfer
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), rows)


def local_rows(x: Array) -> np.ndarray:
  """Returns this process's own rows (NumPy) of a global array that is sharded by rows, the inverse of `global_rows`."""
  shards = sorted(x.addressable_shards, key=lambda shard: shard.index[0].start or 0)
  return np.concatenate(jax.device_get([shard.data for shard in shards]))


def replicate(mesh: Mesh, tree: PyTree) -> PyTree:
  """Replicates a tree of arrays on every device: global arrays of any sharding, and host arrays equal in all processes."""
  sharding = NamedSharding(mesh, REPLICATED)
  if jax.process_count() == 1:
    return jax.device_put(tree, sharding)

  def put(x: Any) -> Array:
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
      return jax.jit(jnp.copy, out_shardings=sharding)(x)
    x = np.asarray(x)  # device_put would send it to all processes to verify that it is equal
    return jax.make_array_from_process_local_data(sharding, x, x.shape)

  with jax.transfer_guard_host_to_device("allow"):  # an intended transfer
    return jax.tree.map(put, tree)


def to_host(mesh: Mesh, tree: PyTree) -> PyTree:
  """Returns NumPy arrays of a tree of global arrays, complete in every process."""
  return jax.device_get(tree if jax.process_count() == 1 else replicate(mesh, tree))
