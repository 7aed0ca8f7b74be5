import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.bootstrap import bank, metrics


def test_metrics_of_a_small_bank_equal_their_definitions():
  state = bank.empty_bank(rows=5, features=3, window=2, k=2, dtype="float16")
  now = jnp.asarray([[0, 1], [0, 1], [2, 0], [3, 2], [-1, -1]])  # the last image was not visited
  before = jnp.asarray([[0, 1], [1, 2], [4, 3], [3, 2], [4, 0]])
  state = dataclasses.replace(
    state, ids=jnp.stack([before, now], axis=1), slot=jnp.int32(1), partners=jnp.asarray([0, 0, 2, 2, 4])
  )
  figures = metrics.figures(state, jnp.asarray([7, 7, 5, -1, 7]), 5)
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
  state = bank.empty_bank(rows=4, features=3, window=1, k=2, dtype="float16")
  figures = metrics.figures(state, -jnp.ones(4, jnp.int32), 4)
  assert np.isnan(float(figures["neighbor_top1_label"]))
