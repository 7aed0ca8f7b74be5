"""What libjpeg-turbo decodes is what PIL decodes; all else is left to PIL."""

import numpy as np
import pytest
from PIL import Image

from jaxssl.data.image_io import decode_plain, plain_size
from tests.data.fixtures import coded, noise, photo


def exif(orientation):
  data = Image.Exif()
  data[0x0112] = orientation
  return data


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_the_same_pixels_as_pil(subsampling, progressive, tmp_path):
  file = coded(photo(), subsampling=subsampling, progressive=progressive)
  (tmp_path / "x.jpg").write_bytes(file)
  assert plain_size(file) == (300, 400)
  for channels, mode in ((3, "RGB"), (1, "L")):
    image = Image.open(tmp_path / "x.jpg")
    image.draft(mode, image.size)  # gray: the luma as stored, not one computed from colors
    theirs = np.asarray(image.convert(mode)).reshape(300, 400, channels)
    found = decode_plain(file, channels, (300, 400))
    assert found.dtype == np.uint8 and (found == theirs).all()


def test_grey_gives_color_and_upright_exif_is_plain():
  gray = coded(photo()[..., 0])
  assert plain_size(gray) == (300, 400)
  found = decode_plain(gray, 3, (300, 400))
  assert found.shape == (300, 400, 3) and (found == found[..., :1]).all()
  assert plain_size(coded(photo(), exif=exif(1))) == (300, 400)


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
def test_what_is_not_plain(file):
  assert plain_size(file) is None


def test_damaged_exif_is_no_reason():
  file = coded(photo(), exif=exif(6))
  at = file.index(b"Exif\0\0")
  assert plain_size(file[: at + 6] + b"\xff" * 8 + file[at + 14 :]) == (300, 400)


@pytest.mark.parametrize("spare,factor", [(0.3, 1), (1, 1), (1.99, 1), (2, 2), (3.9, 2.66), (4, 4), (9, 8), (100, 8)])
def test_shrunk_by_no_more_than_is_spare(spare, factor):
  found = decode_plain(coded(photo()), 3, (300, 400), spare)
  assert abs(300 / found.shape[0] - factor) < 0.15 and abs(400 / found.shape[1] - factor) < 0.15


@pytest.mark.parametrize("length", [300, 20_000, -3])
@pytest.mark.parametrize("ending", [b"", b"\xff\xd9"])
def test_a_file_that_is_not_whole_is_refused(length, ending):
  assert decode_plain(coded(noise())[:length] + ending, 3, (300, 400)) is None
