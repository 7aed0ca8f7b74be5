"""Images of more pixels than the limit, and files that lack their last bytes, stop with the field that reads them."""

import numpy as np
import pytest
from PIL import Image

from jaxssl.core import UserError
from jaxssl.data.file_kinds import DecodeError, UnsupportedImage
from jaxssl.data.image_io import Decoder
from tests.data.fixtures import coded, exif, noise, npy, quarters, tiff
from tests.data.test_file_kinds import read


def test_images_of_more_pixels_than_the_limit_stop():
  files = [coded(quarters()), coded(quarters(), "PNG"), tiff(quarters(), photometric="rgb"), npy(quarters())]
  for data in files:
    assert Decoder(max_pixels=24 * 32).decode(data, "").shape == (24, 32, 3)
    with pytest.raises(UnsupportedImage, match="a.tif: 32 x 24 pixels are more than data.max_pixels=767; raise it, or cut"):
      read(data, max_pixels=767)
  with pytest.raises(UnsupportedImage, match="32 x 24 pixels of 5 channels are more than data.max_pixels=768"):
    read(npy(np.zeros((24, 32, 5), np.uint8)), channels=5, max_pixels=768)
  with pytest.raises(UserError, match="20000 x 20000 pixels are more than data.max_pixels=268435456"):
    read(b"P5 20000 20000 255\n")


@pytest.mark.slow
def test_images_above_the_limit_of_pillow_are_read():
  side = 14_000  # 196 megapixels
  image = coded(Image.new("1", (side, side)), "PNG")
  assert Decoder(channels=1).decode(image, "").shape == (side, side, 1)


@pytest.mark.parametrize("kind", ["RGB", "L", "CMYK", "turned", "progressive"])
def test_a_jpeg_that_lacks_its_last_bytes(kind):
  image = Image.fromarray(noise(0, 80, 60))
  options = {"turned": {"exif": exif(6)}, "progressive": {"progressive": True}}.get(kind, {})
  whole = coded(image.convert(kind if kind in ("L", "CMYK") else "RGB"), **options)
  for missing in (20, 50):
    with pytest.raises(DecodeError, match="a.tif: .*truncated.*; data.allow_truncated=True reads it"):
      read(whole[:-missing])
    pixels = Decoder(allow_truncated=True).decode(whole[:-missing], "a")
    assert (pixels[:30] == Decoder().decode(whole, "a")[:30]).all() or kind in ("turned", "progressive")
  assert (Decoder(allow_truncated=True).decode(whole, "") == Decoder().decode(whole, "")).all()
  with pytest.raises(DecodeError):
    read(whole[:100], allow_truncated=True)
