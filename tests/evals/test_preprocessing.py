"""Images in memory are prepared for a network as files are."""

import numpy as np
import pytest

from jaxssl.core import UserError
from jaxssl.evals.preprocessing import Preprocessing


def preprocessing(bit_depth):
  sizes = {"resident_size": 0, "resize": 0, "size": 8, "interpolation": "bicubic"}
  return Preprocessing(channels=1, bit_depth=bit_depth, mean=(0.5,), std=(0.25,), **sizes)


def test_arrays_have_the_range_of_the_run():
  raw = np.full((2, 8, 8, 1), 1000, np.uint16)
  assert np.allclose(preprocessing(12).on_host(raw), (1000 / 4095 - 0.5) / 0.25, atol=1e-3)
  assert np.allclose(preprocessing(16).on_host(raw), (1000 / 65535 - 0.5) / 0.25, atol=1e-3)
  for bit_depth in (8, 12):  # 8-bit images have their own range
    assert np.allclose(preprocessing(bit_depth).on_host(np.full((1, 8, 8, 1), 51, np.uint8)), (0.2 - 0.5) / 0.25, atol=1e-3)
  with pytest.raises(UserError, match=r"image 0: values up to 1000, above data.bit_depth=8 \(0 to 255\)"):
    preprocessing(8).on_host(raw)
