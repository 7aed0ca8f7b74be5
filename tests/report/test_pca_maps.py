"""Colors of patches: the principal components, the same for all images."""

import types
from typing import Any

import numpy as np

from jaxssl.models.network import Network
from jaxssl.report import pca_maps


def test_the_colors_are_the_three_strongest_directions_of_all_images():
  random = np.random.default_rng(0)
  strengths = random.uniform(-1, 1, (3, 16, 16, 4)) * [9, 3, 1, 0.01]
  rotation = np.linalg.qr(random.normal(size=(6, 6)))[0][:4]
  colors = pca_maps.components((strengths @ rotation + 7).astype(np.float32))
  assert colors.shape == (3, 16, 16, 3) and colors.dtype == np.uint8
  for k in range(3):
    assert abs(np.corrcoef(colors[..., k].ravel(), strengths[..., k].ravel())[0, 1]) > 0.97
    assert colors[..., k].min() == 0 and colors[..., k].max() == 255


def test_equal_patches_of_different_images_have_one_color():
  patches = np.random.default_rng(0).normal(size=(2, 4, 4, 8))
  patches[1, 2, 3] = patches[0, 1, 1]
  colors = pca_maps.components(patches)
  assert (colors[1, 2, 3] == colors[0, 1, 1]).all() and len(np.unique(colors.reshape(-1, 3), axis=0)) == 31


def test_two_features_or_equal_patches_are_shown_without_error():
  assert (pca_maps.components(np.random.default_rng(0).normal(size=(1, 4, 4, 2)))[..., 2] == 0).all()
  assert (pca_maps.components(np.full((2, 4, 4, 8), 0.3)) == 0).all()


def test_networks_without_patches_have_no_section():
  class Encoder:
    pass

  network: Any = Network(encoder=Encoder())  # type: ignore[arg-type]
  given: Any = types.SimpleNamespace(network=network, mesh=None)
  assert pca_maps.section(given, given) == ""
