"""One mesh with one axis: who holds which rows, and how host rows become global arrays."""

import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxssl.types import Array, PyTree

AXIS = "data"
ROWS = PartitionSpec(AXIS)
EVERYWHERE = PartitionSpec()

# State leaves whose first axis counts images are split over the devices; everything else is copied to each.
ROW_PATHS = re.compile(r"neighbors\.(bank|ids|similarities|partners)$")


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
  """Lays all devices (or the given ones) out along the data axis."""
  devices = devices if devices is not None else jax.devices()
  return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def state_shardings(state: PyTree, mesh: Mesh) -> PyTree:
  """Gives every leaf of a state (arrays or shapes) its sharding, by its path."""

  def rule(path: Any, _: Any) -> NamedSharding:
    rows = ROW_PATHS.search(jax.tree_util.keystr(path))
    return NamedSharding(mesh, ROWS if rows else EVERYWHERE)

  return jax.tree_util.tree_map_with_path(rule, state)


def padded_rows(rows: int, mesh: Mesh) -> int:
  """Rounds a number of rows up to one that the mesh divides: a multiple of 8, so that a state moves between 1 to 8 devices."""
  unit = int(np.lcm(8, mesh.size))
  return -(-rows // unit) * unit


def first_row(block: Array) -> Array:
  """Inside shard_map: the global number of the first row of this device's block."""
  return jax.lax.axis_index(AXIS) * block.shape[0]


def global_rows(mesh: Mesh, rows: PyTree) -> PyTree:
  """Makes global arrays, split by rows, from this process's rows (numpy)."""
  sharding = NamedSharding(mesh, ROWS)
  return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), rows)


def everywhere(mesh: Mesh, tree: PyTree) -> PyTree:
  """Puts a tree of arrays on every device."""
  return jax.device_put(tree, NamedSharding(mesh, EVERYWHERE))
