"""All formats and modes decode to the same uint8 image, JPEGs at a reduced size too; damaged files are rejected by name."""

import io

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from jaxssl.data.file_kinds import DecodeError
from jaxssl.data.image_io import center, match, resize
from jaxssl.data.whole_images import Resizing
from tests.data.fixtures import Images, coded, decode, exif, jpeg_size, noise, photo, quarters
from tests.golden_files import cases


def luma(image):
  return np.asarray(Image.fromarray(image).convert("L"))[..., None]


LOSSLESS = {"lossless": True}


LOSSY = {"JPEG": 12, "WEBP": 40, "AVIF": 12}


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "PPM", "JPEG2000", "WEBP lossless", *LOSSY])
def test_all_formats_decode_to_the_same_image(kind):
  image, atol = quarters(), LOSSY.get(kind, 0)
  kind, *options = kind.split()
  data = coded(image, kind, **dict.fromkeys(options, True))
  read = decode(data, 3, "x").astype(int)
  assert read.shape == image.shape and np.median(abs(read - image)) <= 3 and abs(read - image).mean() <= atol
  gray = decode(data, 1, "x").astype(int)
  assert gray.shape == (24, 32, 1) and abs(gray - luma(image)).mean() <= atol


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_converted_to_rgb(kind):
  read = decode(coded(Image.fromarray(quarters()).convert("CMYK"), kind), 3, "x").astype(int)
  assert np.median(abs(read - quarters())) <= 3


def test_one_bit_and_palette_images_are_converted():
  bits = np.array([[True, False], [False, True]])
  assert (decode(coded(Image.fromarray(bits), "PNG"), 1, "x")[..., 0] == bits * 255).all()
  palette = Image.fromarray(quarters()).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
  assert (decode(coded(palette, "PNG"), 3, "x") == np.asarray(palette.convert("RGB"))).all()


def test_transparency_is_composited_on_white():
  image = quarters()
  alpha = np.zeros((24, 32, 1), np.uint8)
  alpha[:, :16] = 255
  alpha[0, 0] = 51  # a fifth
  expected = np.where(alpha == 255, image, 255)
  expected[0, 0] = np.round(0.2 * image[0, 0] + 0.8 * 255)
  for kind in ("PNG", "TIFF"):
    read = decode(coded(np.concatenate([image, alpha], -1), kind), 3, "x").astype(int)
    assert abs(read - expected).max() <= 1
  gray = np.concatenate([luma(image), alpha], -1)
  read = decode(coded(Image.fromarray(gray), "PNG"), 1, "x")
  assert (read[1:, :16] == luma(image)[1:, :16]).all() and (read[:, 16:] == 255).all()


def test_a_transparent_color_becomes_white():
  image = quarters()
  read = decode(coded(image, "PNG", transparency=(200, 30, 40)), 3, "x")
  assert (read[:12, :16] == 255).all() and (read[12:] == image[12:]).all()
  palette = Image.fromarray(image).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
  read = decode(coded(palette, "PNG", transparency=palette.getpixel((0, 0))), 3, "x")
  assert (read[:12, :16] == 255).all() and (read[12:] == np.asarray(palette.convert("RGB"))[12:]).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_orientation_is_applied(kind, turn):
  image = quarters()
  stored = coded(image, kind, exif=exif(turn), **(LOSSLESS if kind == "WEBP" else {}))
  upright = {
    1: image,
    2: image[:, ::-1],
    3: image[::-1, ::-1],
    4: image[::-1],
    5: image.transpose(1, 0, 2),
    6: np.rot90(image, -1),
    7: image[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(image, 1),
  }[turn]
  read = decode(stored, 3, "x").astype(int)
  assert read.shape == upright.shape and np.median(abs(read - upright)) <= 3


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("start", [b"II*\0\xff\xff\xff\xff", b"\xff" * 8])
def test_damaged_exif_is_ignored(start):
  data = coded(quarters(), exif=b"Exif\0\0" + start)
  assert jpeg_size(data, 3, np.uint8) == (24, 32) and decode(data, 3, "x").shape == (24, 32, 3)


@pytest.mark.parametrize("kind", ["WEBP", "PNG", "TIFF", "GIF"])
def test_the_first_frame_is_decoded(kind):
  first, second = Image.fromarray(quarters()), Image.fromarray(255 - quarters())
  data = coded(first, kind, save_all=True, append_images=[second], **(LOSSLESS if kind == "WEBP" else {}))
  assert (decode(data, 3, "x") == quarters()).all()


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_have_the_pixels_of_pil(subsampling, progressive):
  file = coded(photo(), subsampling=subsampling, progressive=progressive)
  for channels, mode in ((3, "RGB"), (1, "L")):
    assert jpeg_size(file, channels, np.uint8) == (300, 400)
    image = Image.open(io.BytesIO(file))
    image.draft(mode, image.size)  # gray: the stored luma, not one computed from colors
    pixels = decode(file, channels, "x")
    assert pixels.dtype == np.uint8 and (pixels == np.asarray(image.convert(mode)).reshape(300, 400, channels)).all()


@pytest.mark.parametrize("spare,factor", [(0.3, 1), (1, 1), (1.99, 1), (2, 2), (3.9, 2.66), (4, 4), (9, 8), (100, 8)])
def test_jpegs_are_reduced_by_at_most_the_spare_factor(spare, factor):
  for file in (coded(photo()), coded(photo()[..., 0]), coded(photo(), exif=exif(1))):
    assert jpeg_size(file, 3, np.uint8) == (300, 400)
    pixels = decode(file, 3, "x", spare=spare)
    assert abs(300 / pixels.shape[0] - factor) < 0.15 and abs(400 / pixels.shape[1] - factor) < 0.15


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
def test_other_files_are_not_decoded_at_a_reduced_size(file):
  assert jpeg_size(file, 3, np.uint8) is None


def test_damaged_files_are_rejected():
  for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP"):
    whole = coded(noise(0, 40, 40), kind)
    for length in (0, 10, len(whole) // 2, len(whole) * 9 // 10):
      with pytest.raises(DecodeError, match="a/b.xyz: "):
        decode(whole[:length], 3, "a/b.xyz")
  with pytest.raises(DecodeError, match="a/b.jpg: not an image of a known format"):
    decode(b"This is text." * 100, 3, "a/b.jpg")


def test_match_converts_between_gray_and_color():
  gray = luma(quarters())
  assert match(gray, 1, np.uint8, "") is gray
  assert (match(gray, 3, np.uint8, "") == np.repeat(gray, 3, -1)).all()
  assert (match(quarters(), 1, np.uint8, "") == gray).all()


def test_resize_matches_the_golden_crops():
  golden = [case for case in cases("augment").values() if "crop_bicubic" in case]
  assert golden
  for case in golden:
    side = int(case["out_size"])
    for method in ("bicubic", "bilinear"):
      for (top, left, height, width), expected in zip(case["boxes"], case[f"crop_{method}"], strict=True):
        cut = resize(case["image"][top : top + height, left : left + width], side, side, method)
        assert abs(cut.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("height,width", [(40, 40), (37, 91), (90, 33), (16, 300), (5, 9)])
@pytest.mark.parametrize("shorter,size,method", [(20, 20, "bicubic"), (24, 20, "bilinear"), (20, 13, "bicubic")])
def test_center_equals_resizing_then_cropping(height, width, shorter, size, method):
  image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
  scale = shorter / min(height, width)
  tall, wide = (shorter, int(width * scale + 1e-9)) if height <= width else (int(height * scale + 1e-9), shorter)
  whole = np.asarray(Image.fromarray(image).resize((wide, tall), Image.Resampling[method.upper()])).astype(int)
  top, left = round((tall - size) / 2), round((wide - size) / 2)
  cut = center(image, shorter, size, method)
  assert cut.shape == (size, size, 3)
  assert abs(cut - whole[top : top + size, left : left + size]).max() <= 1


def test_center_without_crop_resizes_the_whole_image():
  image = quarters(20, 50)[..., :1]
  for method in ("bicubic", "bilinear"):
    expected = np.asarray(Image.fromarray(image[..., 0]).resize((16, 16), Image.Resampling[method.upper()]))
    assert (center(image, 0, 16, method)[..., 0] == expected).all()


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("height, width", [(301, 403), (640, 353), (1001, 1111)])
def test_large_jpegs_are_decoded_smaller_in_the_same_place(height, width, turned, monkeypatch):
  sizes, decode_jpeg = [], simplejpeg.decode_jpeg

  def recorded(*arguments, **options):
    sizes.append((image := decode_jpeg(*arguments, **options)).shape)
    return image

  monkeypatch.setattr("simplejpeg.decode_jpeg", recorded)
  rows, columns = np.linspace(0, 255, height)[:, None], np.linspace(0, 255, width)[None]
  ramp = np.stack(np.broadcast_arrays(rows, columns, 255 - rows), -1).round().astype(np.uint8)
  source = Images([coded(ramp, subsampling=0, **({"exif": exif(3)} if turned else {}))])
  for size, shorter in ((24, 0), (40, 0), (24, 32), (56, 64), (100, 120)):
    shown = Resizing(0, shorter, size).image(source, 0)
    assert abs(shown.astype(int) - center(source.read(0), shorter, size)).max() <= 2
  reduced = {shape[0] for shape in sizes} - {height}
  assert (len(reduced) == 0) if turned else (len(reduced) >= 2)
