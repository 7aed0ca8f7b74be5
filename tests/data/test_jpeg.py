"""The fast JPEG path decodes the same pixels as PIL, and leaves all other files to PIL."""

import numpy as np
import pytest
from PIL import Image

from jaxssl.data.jpeg import decode_jpeg, jpeg_size
from tests.data.fixtures import coded, exif, noise, photo


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_pixels_equal_those_of_pil(subsampling, progressive, tmp_path):
  file = coded(photo(), subsampling=subsampling, progressive=progressive)
  (tmp_path / "x.jpg").write_bytes(file)
  assert jpeg_size(file) == (300, 400)
  for channels, mode in ((3, "RGB"), (1, "L")):
    image = Image.open(tmp_path / "x.jpg")
    image.draft(mode, image.size)  # gray: the stored luma, not one computed from colors
    theirs = np.asarray(image.convert(mode)).reshape(300, 400, channels)
    pixels = decode_jpeg(file, channels, (300, 400))
    assert pixels.dtype == np.uint8 and (pixels == theirs).all()


def test_gray_files_and_upright_exif_are_decoded():
  gray = coded(photo()[..., 0])
  assert jpeg_size(gray) == (300, 400)
  pixels = decode_jpeg(gray, 3, (300, 400))
  assert pixels.shape == (300, 400, 3) and (pixels == pixels[..., :1]).all()
  assert jpeg_size(coded(photo(), exif=exif(1))) == (300, 400)


@pytest.mark.parametrize(
  "file",
  [
    coded(photo(), exif=exif(6)),
    coded(Image.fromarray(photo()).convert("CMYK")),
    coded(photo(), "PNG"),
    coded(photo())[:100],
    b"",
    b"\xff\xd8\xff",
    b"\xff\xd8\xff\xe1\xff\xff",
  ],
)
def test_other_files_are_left_to_pil(file):
  assert jpeg_size(file) is None


def test_damaged_exif_is_ignored():
  file = coded(photo(), exif=exif(6))
  at = file.index(b"Exif\0\0")
  assert jpeg_size(file[: at + 6] + b"\xff" * 8 + file[at + 14 :]) == (300, 400)


@pytest.mark.parametrize("spare,factor", [(0.3, 1), (1, 1), (1.99, 1), (2, 2), (3.9, 2.66), (4, 4), (9, 8), (100, 8)])
def test_images_are_reduced_by_at_most_the_spare_factor(spare, factor):
  pixels = decode_jpeg(coded(photo()), 3, (300, 400), spare)
  assert abs(300 / pixels.shape[0] - factor) < 0.15 and abs(400 / pixels.shape[1] - factor) < 0.15


@pytest.mark.parametrize("length", [300, 20_000, -3])
@pytest.mark.parametrize("ending", [b"", b"\xff\xd9"])
def test_a_truncated_file_is_rejected(length, ending):
  assert decode_jpeg(coded(noise())[:length] + ending, 3, (300, 400)) is None
