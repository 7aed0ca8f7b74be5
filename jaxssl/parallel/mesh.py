"""One mesh with one axis: who holds which rows, and how host rows become global arrays, with one process or several."""

import functools
import re
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

LARGE = 2**14  # elements from which on a leaf is worth splitting
# State leaves whose first axis counts images are split over the devices; everything else is copied to each.
ROW_PATHS = re.compile(r"neighbor_bank\.(features|ids|similarities|partners)$")


def default_devices() -> Sequence[Any]:
  """Returns the devices that a run uses: all of them. Tests replace it."""
  return jax.devices()


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
  """Lays all devices (or the given ones) out along the data axis, those of a process side by side."""
  devices = default_devices() if devices is None else devices
  if jax.process_count() == 1:
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)
  by_process = sorted(devices, key=lambda device: (device.process_index, device.id))
  return Mesh(np.array(by_process), (AXIS,), axis_types=(AxisType.Auto,))


def abstract_mesh(size: int) -> jax.sharding.AbstractMesh:
  """Makes a mesh of so many devices that exist nowhere: shapes and shardings follow from it, but nothing can be compiled."""
  return jax.sharding.AbstractMesh((size,), (AXIS,), axis_types=(AxisType.Auto,))


def compute_precision(mesh: Any, precision: str) -> str:
  """Returns the precision in which networks compute on a mesh: `precision`, but float32 on CPUs.

  A CPU has no fast bfloat16, and jaxlib 0.12.0.1 miscompiles bfloat16 networks there: its YNN fusions give NaN from finite
  weights. An abstract mesh, whose devices are unknown, counts as an accelerator.
  """
  return "float32" if isinstance(mesh, Mesh) and mesh.devices.flat[0].platform == "cpu" else precision


def state_shardings(state: PyTree, mesh: Mesh, split: bool = False) -> PyTree:
  """Gives every leaf of a state (arrays or shapes) its sharding, by its path; with `split`, large leaves by their size, too."""

  def rule(path: Any, leaf: Any) -> NamedSharding:
    if ROW_PATHS.search(jax.tree_util.keystr(path)):
      return NamedSharding(mesh, ROWS)
    fitting = [axis for axis, size in enumerate(leaf.shape) if size % mesh.size == 0]
    if not split or leaf.size < LARGE or not fitting:
      return NamedSharding(mesh, REPLICATED)
    longest = max(fitting, key=lambda axis: leaf.shape[axis])
    return NamedSharding(mesh, PartitionSpec(*[AXIS if axis == longest else None for axis in range(len(leaf.shape))]))

  return jax.tree_util.tree_map_with_path(rule, state)


def padded_rows(rows: int, mesh: Mesh) -> int:
  """Rounds a number of rows up to one that the mesh divides.

  It is a multiple of 8, or of 1024 where that adds little, so that a state moves between 1 and so many devices.
  """
  unit = int(np.lcm(1024 if rows >= 2**17 else 8, mesh.size))
  return -(-rows // unit) * unit


def first_row(block: Array) -> Array:
  """Inside shard_map: the global number of the first row of this device's block."""
  return jax.lax.axis_index(AXIS) * block.shape[0]


def local_slice(mesh: Mesh, rows: int) -> slice:
  """The rows, of so many that the mesh divides, that this process reads and holds: all of them where there is one process."""
  places = [place for place, device in enumerate(mesh.devices.flat) if device.process_index == jax.process_index()]
  each = rows // mesh.size
  return slice(places[0] * each, (places[-1] + 1) * each)


def global_rows(mesh: Mesh, rows: PyTree) -> PyTree:
  """Makes global arrays, split by rows, from this process's own rows (numpy)."""
  sharding = NamedSharding(mesh, ROWS)
  with jax.transfer_guard_host_to_device("allow"):  # it is meant
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), rows)


def replicate(mesh: Mesh, tree: PyTree) -> PyTree:
  """Puts a tree of arrays on every device: global ones however they are split, and others, the same in every process."""
  sharding = NamedSharding(mesh, REPLICATED)
  if jax.process_count() == 1:
    return jax.device_put(tree, sharding)

  def put(x: Any) -> Array:
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
      return _gathering(mesh)(x)
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
      return jax.random.wrap_key_data(put(np.asarray(jax.random.key_data(x))))
    x = np.asarray(x)  # device_put would send all of it around, to see that it is the same everywhere
    return jax.make_array_from_process_local_data(sharding, x, x.shape)

  with jax.transfer_guard_host_to_device("allow"):  # it is meant
    return jax.tree.map(put, tree)


def to_host(mesh: Mesh, tree: PyTree) -> PyTree:
  """Gives numpy arrays of a tree of global arrays, whole in every process."""
  return jax.device_get(replicate(mesh, tree))


@functools.cache
def _gathering(mesh: Mesh) -> Any:
  return jax.jit(lambda x: x, out_shardings=NamedSharding(mesh, REPLICATED))
