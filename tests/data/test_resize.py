"""Crops resized by OpenCV are aligned with those of PIL and as free of aliasing."""

import numpy as np
import pytest

from jaxssl.data.crops import resample
from jaxssl.data.image_io import resize
from tests.data.fixtures import noise, photo

SIDES = [(20, 20), (40, 40), (44, 56), (60, 50), (79, 80), (80, 33), (100, 130), (300, 400)]


def resampled(part, how, channels=3):
  out = np.zeros((40, 40, channels), np.uint8)
  resample(part, out, how)
  return out.astype(float)


@pytest.mark.parametrize("how", ["bicubic", "bilinear"])
@pytest.mark.parametrize("height,width", SIDES)
def test_close_to_pil(how, height, width):
  part = photo()[:height, :width]
  assert abs(resampled(part, how) - resize(part, 40, 40, how)).mean() < (1 if max(height, width) < 300 else 3)
  gray = resampled(np.ascontiguousarray(part[..., :1]), how, 1)
  assert (gray[..., 0] == resampled(part, how)[..., 0]).all()


@pytest.mark.parametrize("how", ["bicubic", "bilinear"])
@pytest.mark.parametrize("side", [56, 60, 70, 80, 100])
def test_downsampling_is_antialiased(how, side):
  """Without a filter, noise would keep its deviation of 74 gray levels."""
  part = noise(0, side, side)
  found, theirs = resampled(part, how).std(), resize(part, 40, 40, how).std()
  assert found < 1.2 * theirs and found < 60


@pytest.mark.parametrize("how", ["bicubic", "bilinear"])
@pytest.mark.parametrize("side", [25, 40, 64, 100])
def test_crops_are_aligned(how, side):
  ramp = np.repeat(np.linspace(0, 255, side).round().astype(np.uint8)[None, :, None], side, 0).repeat(3, 2)
  places = ((np.arange(40) + 0.5) * side / 40 - 0.5) * 255 / (side - 1)
  assert abs(resampled(ramp, how) - places[None, :, None])[:, 3:-3].max() < 1.5
