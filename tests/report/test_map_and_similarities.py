"""The map of the report."""

import numpy as np
import pytest

from jaxssl.report import tsne

RANDOM = np.random.default_rng(0)


def test_a_map_keeps_groups_together():
  centers = RANDOM.normal(size=(3, 16)) * 5
  group = np.repeat(np.arange(3), 20)
  features = (centers[group] + RANDOM.normal(size=(60, 16))).astype(np.float32)
  places = tsne.project(features, seed=0)
  assert places.min() == 0 and places.max() == pytest.approx(1)
  distances = np.linalg.norm(places[:, None] - places[None], axis=-1) + 9 * np.eye(60)
  assert (group[distances.argmin(1)] == group).all()
  np.testing.assert_array_equal(places, tsne.project(4 * features, seed=0))  # scale has no effect


@pytest.mark.parametrize("n, spread", [(1, 1.0), (3, 1.0), (7, 1.0), (40, 0.0)])
def test_a_map_of_few_or_collapsed_features_is_finite(n, spread):
  features = (1 + spread * RANDOM.normal(size=(n, 4))).astype(np.float32)
  places = tsne.project(features, seed=0)
  assert places.shape == (n, 2) and np.isfinite(places).all()
