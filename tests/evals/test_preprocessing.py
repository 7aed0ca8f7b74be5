"""Images in memory are prepared for a network as files are."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from jaxssl.core import UserError
from jaxssl.data.file_kinds import Stored
from jaxssl.evals import raw_pixels
from jaxssl.evals.preprocessing import Preprocessing


def preprocessing(bit_depth, interpolation="bicubic"):
  sizes = {"resident_size": 0, "resize": 0, "size": 8, "interpolation": interpolation}
  return Preprocessing(channels=1, bit_depth=bit_depth, mean=(0.5,), std=(0.25,), **sizes)


def test_arrays_have_the_range_of_the_run():
  raw = np.full((2, 8, 8, 1), 1000, np.uint16)
  assert np.allclose(preprocessing(12).on_host(raw), (1000 / 4095 - 0.5) / 0.25, atol=1e-3)
  assert np.allclose(preprocessing(16).on_host(raw), (1000 / 65535 - 0.5) / 0.25, atol=1e-3)
  for bit_depth in (8, 12):  # 8-bit images have their own range
    assert np.allclose(preprocessing(bit_depth).on_host(np.full((1, 8, 8, 1), 51, np.uint8)), (0.2 - 0.5) / 0.25, atol=1e-3)
  with pytest.raises(UserError, match=r"image 0: values up to 1000, above data.bit_depth=8 \(0 to 255\)"):
    preprocessing(8).on_host(raw)


def test_the_interpolation_is_that_of_the_config_on_the_device_and_on_the_host():
  image = np.random.default_rng(0).integers(0, 256, (1, 20, 20, 1), dtype=np.uint8)
  shown = {}
  for name in ("bicubic", "bilinear"):
    prep = preprocessing(8, name)
    host, device = prep.on_host(image), np.asarray(prep.on_device(np.zeros(1, np.int32), image))
    assert np.abs(host - device).max() <= 1.01 / 255 / 0.25  # both round to whole numbers
    shown[name] = host
    by_pil = Image.fromarray(image[0, ..., 0]).resize((8, 8), Image.Resampling[name.upper()])
    assert np.allclose(host[0, ..., 0], (np.asarray(by_pil) / 255 - 0.5) / 0.25, atol=1e-5)
  assert np.abs(shown["bicubic"] - shown["bilinear"]).max() > 0.05


def test_raw_pixels_show_the_part_of_an_image_that_the_network_gets():
  image = np.zeros((1, 120, 120, 1), np.uint8)
  image[:, 20:100, 20:100] = 255  # the middle, of which 80 of 96 pixels are shown
  prep = dataclasses.replace(preprocessing(8), resize=96, size=64)
  device = raw_pixels.of_images(prep, np.zeros(1, np.int32), image)
  host = raw_pixels.of_images(prep, prep.resized(image[0])[None], None)
  assert device.shape == host.shape == (1, 32 * 32)
  np.testing.assert_allclose(device, host, atol=0.2)  # which rounds twice
  assert device.min() > 0.8


@pytest.mark.parametrize("bit_depth", [8, 12, 16])
def test_values_of_files_are_those_that_were_read(bit_depth):
  dtype = np.uint8 if bit_depth == 8 else np.uint16
  files = np.random.default_rng(0).integers(0, 2**bit_depth, (1, 8, 8, 1)).astype(dtype)
  prep = preprocessing(bit_depth)
  resized = np.stack([prep.decoder.convert(Stored(image), "") for image in files])  # of the same size
  values = prep.values(resized)
  assert values.dtype == dtype and (values == files).all()
