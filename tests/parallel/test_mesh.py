"""The rows of each process, and the sharding of the leaves of a state."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from jaxssl.parallel.mesh import global_rows, local_slice, make_mesh, padded_rows, state_shardings, to_host

MESH = make_mesh()


def shape(*sizes):
  return jax.ShapeDtypeStruct(sizes, np.float32)


def test_large_leaves_are_split_along_their_longest_axis_on_request():
  sizes = {"kernel": (64, 512), "odd": (129, 257), "small": (8, 8), "step": ()}
  state = {name: shape(*size) for name, size in sizes.items()}
  for split in (False, True):
    specs = {name: s.spec for name, s in state_shardings(state, MESH, split).items()}
    assert specs["odd"] == specs["small"] == specs["step"] == PartitionSpec()
    assert specs["kernel"] == (PartitionSpec(None, "data") if split else PartitionSpec())


@pytest.mark.parametrize("rows", [1, 8, 1000, 2**17 + 1, 1_281_167])
def test_padded_rows_are_equal_for_all_meshes_up_to_a_size(rows):
  def padded(size):
    return padded_rows(rows, type("Mesh", (), {"size": size})())

  sizes = [1, 2, 4, 8] + ([16, 64, 256, 1024] if rows >= 2**17 else [])
  assert len({padded(size) for size in sizes}) == 1 and rows <= padded(8) < rows + max(sizes) + 1
  assert padded(24) % 24 == 0


def test_one_process_holds_all_rows():
  rows = np.arange(24, dtype=np.float32).reshape(8, 3)
  assert local_slice(MESH, 8) == slice(0, 8)
  np.testing.assert_array_equal(to_host(MESH, global_rows(MESH, rows)), rows)
