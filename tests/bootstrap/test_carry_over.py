"""The neighbor bank follows its images into a changed training set."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.bootstrap.bank import NeighborBank, carry_over


def bank() -> NeighborBank:
  """Returns a bank of four images, of which 1 votes for 0, 2 and nobody, with four rows of padding."""
  rows = 8
  ids = jnp.full((rows, 2, 2), -1, jnp.int32).at[1].set(jnp.array([[1, 0], [2, -1]]))
  return NeighborBank(
    features=jnp.arange(1.0, rows + 1, dtype=jnp.float16)[:, None] * jnp.ones((1, 3), jnp.float16),
    ids=ids,
    similarities=jnp.where(ids < 0, 0, ids + 0.25).astype(jnp.float16),
    partners=jnp.array([0, 2, 3, 1, 4, 5, 6, 7], jnp.int32),
    trusted=jnp.float32(0.5),
    slot=jnp.int32(1),
  )


@pytest.mark.parametrize("sharded", [False, True])
def test_rows_ids_and_partners_follow_their_images(sharded):
  """Image 0 is removed, a new one comes first: 1, 2 and 3 keep their places but for one, and 2 ... become others' ids."""
  old, before = bank(), jnp.array([-1, 3, 1, 2, -1, -1, -1, -1], jnp.int32)
  if sharded:
    mesh = jax.make_mesh((8,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows"))
    old = jax.tree.map(lambda x: jax.device_put(x, place) if x.ndim else x, old)
  new = jax.jit(carry_over)(old, before)
  assert new.features[:, 0].tolist() == [0, 4, 2, 3, 0, 0, 0, 0]
  assert new.ids[2].tolist() == [[2, -1], [3, -1]]  # 1 is now 2, 0 has vanished, 2 is now 3
  assert new.similarities[2].tolist() == [[1.25, 0], [2.25, 0]]
  assert (np.asarray(new.ids)[[0, 1, 3, 4]] == -1).all()
  assert new.partners.tolist() == [0, 2, 3, 1, 4, 5, 6, 7]  # 3 -> 1, 1 -> 2, 2 -> 3 under their new numbers
  assert float(new.trusted) == 0.5 and int(new.slot) == 1
  assert jax.tree.map(lambda x: x.dtype, new) == jax.tree.map(lambda x: x.dtype, old)


def test_a_vanished_partner_is_replaced_by_the_image_itself():
  assert carry_over(bank(), jnp.array([1, 3], jnp.int32)).partners.tolist() == [0, 0]  # 2, the partner of 1, has vanished


def test_an_unchanged_set_keeps_every_bit():
  old = bank()
  jax.tree.map(np.testing.assert_array_equal, carry_over(old, jnp.arange(8, dtype=jnp.int32)), old)
