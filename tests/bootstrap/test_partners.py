"""Partners of a process's own images are looked up on the devices."""

import jax
import numpy as np
import pytest

from jaxssl.bootstrap import partners
from jaxssl.parallel.mesh import global_rows, local_rows, make_mesh


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("chunk", [1, 64, 2**22])  # steps are looked up one by one, four at a time, and all at once
def test_partners_equal_those_of_the_table(devices, chunk, monkeypatch):
  monkeypatch.setattr(partners, "CHUNK", chunk)
  mesh, rng = make_mesh(jax.devices()[:devices]), np.random.default_rng(0)
  table = rng.integers(0, 80, 80).astype(np.int32)
  index = rng.permutation(80).reshape(5, 16).astype(np.int32)
  found = partners.partners_of(mesh, global_rows(mesh, table), index)
  np.testing.assert_array_equal(found, table[index])
  assert found.dtype == np.int32


def test_a_device_looks_up_a_bounded_number_at_a_time(monkeypatch):
  monkeypatch.setattr(partners, "CHUNK", 64)
  mesh, sizes = make_mesh(), []
  look_up = partners._look_up
  monkeypatch.setattr(partners, "_look_up", lambda *args: sizes.append(args[2].shape) or look_up(*args))
  partners.partners_of(mesh, global_rows(mesh, np.arange(160, dtype=np.int32)), np.arange(160, dtype=np.int32).reshape(10, 16))
  assert sizes == [(16, 4)] * 3
  text = (
    look_up.lower(mesh, jax.ShapeDtypeStruct((2**20,), np.int32), jax.ShapeDtypeStruct((16, 4), np.int32)).compile().as_text()
  )
  assert "s32[1048576]" not in text  # no device holds the table


def test_local_rows_are_the_inverse_of_global_rows():
  rows = np.arange(48, dtype=np.float32).reshape(16, 3)
  np.testing.assert_array_equal(local_rows(global_rows(make_mesh(), rows)), rows)
