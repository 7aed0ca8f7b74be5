import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.bootstrap import metrics
from jaxssl.bootstrap.bank import NeighborBank


def bank(ids, slot, partners) -> NeighborBank:
  """Returns a bank whose other arrays are zeros."""
  zeros = jnp.zeros(ids.shape, "float16")
  rest = {"partners": jnp.asarray(partners), "trusted": jnp.float32(0), "slot": jnp.int32(slot)}
  return NeighborBank(features=zeros, ids=ids, similarities=zeros, **rest)


def test_metrics_of_a_small_bank_equal_their_definitions():
  now = jnp.asarray([[0, 1], [0, 1], [2, 0], [3, 2], [-1, -1]])  # the last image was not visited
  before = jnp.asarray([[0, 1], [1, 2], [4, 3], [3, 2], [4, 0]])
  state = bank(jnp.stack([before, now], axis=1), slot=1, partners=[0, 0, 2, 2, 4])
  figures = metrics.figures(state, 5, jnp.asarray([7, 7, 5, -1, 7]))
  expected = {
    "share_bootstrapped": 2 / 4,
    "share_self_neighbor": 3 / 4,
    "neighbor_churn": 1 - (1 + 0.5 + 0 + 1) / 4,
    "neighbor_top1_label": 3 / 3,
    "neighbor_top2_label": 2 / 3,
    "share_trusted": 0,
  }
  assert {name: float(value) for name, value in figures.items()} == pytest.approx(expected)


def test_label_metrics_are_nan_without_labels():
  state = bank(jnp.full((4, 1, 2), -1), slot=0, partners=[0, 1, 2, 3])
  figures = metrics.figures(state, 4, -jnp.ones(4, jnp.int32))
  assert np.isnan(float(figures["neighbor_top1_label"]))
  assert not [name for name in metrics.figures(state, 4, None) if name.endswith("label")]


def test_rows_of_the_padding_do_not_count():
  ids = jnp.asarray([[0], [0], [0], [0]])[:, None]  # as released, lists of unvisited rows start with image 0
  state = bank(ids, slot=0, partners=[0, 0, 2, 3])
  figures = metrics.figures(state, 2, jnp.asarray([7, 7]))
  names = ("share_self_neighbor", "share_bootstrapped", "neighbor_top1_label")
  assert [float(figures[name]) for name in names] == [0.5, 0.5, 1]
