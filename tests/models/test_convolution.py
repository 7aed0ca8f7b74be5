"""Convolutions by patches are those of XLA, and only CPUs compute them so."""

import jax
import numpy as np
import pytest
from jax import lax

from jaxssl.models import convolution

LAYOUT = ("NHWC", "HWIO", "NHWC")
CASES = {  # name -> (images, height, width, side of the kernel, stride, padding)
  "3x3": (6, 8, 8, 3, 1, 1),
  "stride": (5, 9, 6, 3, 2, 1),
  "shortcut": (4, 7, 7, 1, 2, 0),
  "stem": (3, 15, 13, 7, 2, 3),
  "padded": (1, 4, 4, 3, 1, 2),
  "fewer places than the kernel": (4, 2, 2, 3, 1, 1),
  "fewer, with stride": (4, 4, 3, 3, 2, 1),
}


@pytest.mark.parametrize("part", (1, 2**12, 2**21))
@pytest.mark.parametrize("name", CASES)
def test_results_and_gradients_are_those_of_xla(name, part, monkeypatch):
  images, height, width, side, stride, padding = CASES[name]
  monkeypatch.setattr(convolution, "PART", part)
  monkeypatch.setattr(jax, "device_count", lambda: 1)
  rng = np.random.default_rng(0)
  x = rng.normal(size=(images, height, width, 3)).astype(np.float32)
  kernel = rng.normal(size=(side, side, 3, 4)).astype(np.float32)
  window = ((stride, stride), ((padding, padding), (padding, padding)))

  def gradients(convolve):
    def loss(x, kernel):
      y = convolve(x, kernel, *window, dimension_numbers=LAYOUT)
      return (y * np.cos(np.arange(y.size, dtype=np.float32).reshape(y.shape))).sum(), y

    return jax.jit(jax.grad(loss, (0, 1), has_aux=True))(x, kernel)

  ours, theirs = gradients(convolution.convolve), gradients(lax.conv_general_dilated)
  for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def lowered(side: int, platform: str) -> str:
  """Returns the gradient of a convolution of images of `side` pixels, as it is compiled for a platform."""
  x, kernel = np.ones((4, side, side, 3), np.float32), np.ones((3, 3, 3, 4), np.float32)

  def loss(kernel):
    return convolution.convolve(x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=LAYOUT).sum()

  return jax.jit(jax.grad(loss)).trace(kernel).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("devices, platform, in_parts", [(1, "cpu", True), (1, "tpu", False), (8, "cpu", False)])
def test_only_one_cpu_sums_products_of_patches(devices, platform, in_parts, monkeypatch):
  monkeypatch.setattr(jax, "device_count", lambda: devices)
  assert ("stablehlo.while" in lowered(8, platform)) == in_parts


def test_only_cpus_multiply_patches_of_the_smallest_maps():
  assert "stablehlo.convolution" not in lowered(2, "cpu")
  assert "stablehlo.convolution" in lowered(2, "tpu")
