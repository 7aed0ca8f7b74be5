"""What is in a file: photometric kinds, ranges and limits have the right values, or stop with their kind and a remedy."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from jaxssl.data.file_kinds import DecodeError, UnsupportedImage, WrongChannels
from jaxssl.data.image_io import Decoder
from tests.data.fixtures import coded, exif, npy, quarters, tiff

GRAY = np.array([[0, 100, 255]], np.uint8)
COLOR = np.array([[[255, 0, 0], [10, 20, 30], [200, 100, 50]]], np.uint8)
ALPHA = np.array([[[0], [128], [255]]], np.uint8)
RGBA = np.concatenate([COLOR, ALPHA], -1)
ON_WHITE = [[255, 255, 255], [132, 137, 142], [200, 100, 50]]
TWELVE = np.array([[0, 1000, 4095]], np.uint16)
WIDE = (0, 1000 * 65535 / 4095, 65535)


def read(data, **fields):
  """Returns the pixels as a list, without the axes of length 1."""
  return Decoder(**fields).decode(data, "a.tif").squeeze().tolist()


def chunk(name, data):
  return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png16(image, color, *chunks):
  """Encodes uint16 [h, w, c] as PNG of a color type, with more chunks."""
  rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in image)
  start = chunk(b"IHDR", struct.pack(">IIBBBBB", image.shape[1], image.shape[0], 16, color, 0, 0, 0))
  return b"\x89PNG\r\n\x1a\n" + start + b"".join(chunks) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_zero_is_white_at_every_depth(photometric):
  inverted = photometric == "miniswhite"
  assert read(tiff(GRAY, photometric=photometric), channels=1) == ([255, 155, 0] if inverted else [0, 100, 255])
  for values, depth in ((TWELVE, 12), (TWELVE * 16 + TWELVE // 256, 16)):
    pixels = read(tiff(values, photometric=photometric), channels=1, bit_depth=depth)
    assert np.allclose([65535 - x for x in pixels] if inverted else pixels, WIDE, atol=16)
  pages = np.stack([TWELVE] * 5)
  assert (np.array(read(tiff(pages, photometric=photometric), channels=5, bit_depth=12))[0] == (65535 if inverted else 0)).all()


def test_zero_is_white_in_a_compressed_file():
  file = bytearray(coded(TWELVE, "TIFF", compression="tiff_lzw"))
  at = file.index(struct.pack("<HHIH", 262, 3, 1, 1))
  file[at + 8] = 0
  assert read(bytes(file), channels=1, bit_depth=12) == [65535, 65535 - round(WIDE[1]), 0]


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.uint32, np.int64])
def test_the_width_of_integers_is_not_their_range(dtype):
  for encode in (tiff, npy):
    assert read(encode(GRAY.astype(dtype)), channels=1, bit_depth=8) == [0, 100, 255]
    assert np.allclose(read(encode(TWELVE.astype(dtype)), channels=1, bit_depth=12), WIDE, atol=1)
    with pytest.raises(UnsupportedImage, match=r"values up to 4095, above data.bit_depth=8 \(0 to 255\); .*data.bit_depth=12"):
      read(encode(TWELVE.astype(dtype)), channels=1, bit_depth=8)


def test_values_outside_of_16_bits_are_unsupported():
  with pytest.raises(UnsupportedImage, match="a.tif: values down to -255; shift and scale them"):
    read(tiff(-GRAY.astype(np.int32)), channels=1)
  with pytest.raises(UnsupportedImage, match="a.tif: values up to 255000, .*; scale them to uint8 or uint16"):
    read(tiff(GRAY.astype(np.int32) * 1000), channels=1, bit_depth=16)
  with pytest.raises(UnsupportedImage, match="a.tif: uint16 pixels of an unknown range; set data.bit_depth"):
    read(tiff(TWELVE), channels=1, bit_depth=0)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_point_is_unsupported(dtype):
  for data in (tiff(COLOR.astype(dtype), photometric="rgb"), tiff(GRAY.astype(dtype)), npy(COLOR.astype(dtype))):
    for channels in (1, 3, 5):
      with pytest.raises(UnsupportedImage, match=r"a.tif: .* pixels; scale them to integers, uint8 or uint16"):
        read(data, channels=channels)
  with pytest.raises(UnsupportedImage, match="a.tif: floating-point pixels"):
    read(b"Pf\n1 1\n-1.0\n\0\0\0\0")


@pytest.mark.parametrize("tag", ["assocalpha", "unassalpha", "unspecified"])
def test_a_fourth_band_is_blended_only_in_8_bit_rgb_with_transparency(tag):
  stored = np.concatenate([COLOR * (ALPHA / 255), ALPHA], -1).round().astype(np.uint8) if tag == "assocalpha" else RGBA
  file = tiff(stored, photometric="rgb", extrasamples=[tag])
  deep = tiff(RGBA * np.uint16(257), photometric="rgb", extrasamples=[tag])
  geo = tiff(stored, photometric="rgb", extrasamples=[tag], extratags=[(33550, 12, 3, (10.0, 10.0, 0.0), True)])
  unclear = [deep, geo, *([file] if tag == "unspecified" else [])]
  if tag != "unspecified":
    assert np.allclose(read(file), ON_WHITE, atol=2)
  for data in unclear:
    with pytest.raises(WrongChannels, match="a.tif: has 4 channels of .* bits, .*; data.channels=4 reads them"):
      read(data, bit_depth=16)
  assert read(file, channels=4) == stored[0].tolist()
  assert read(deep, channels=4, bit_depth=16) == (RGBA[0].astype(int) * 257).tolist()


def test_a_band_that_does_not_look_like_transparency_is_not_blended():
  infrared = np.arange(64, dtype=np.uint8).reshape(8, 8, 1) * 4
  image = np.concatenate([quarters(8, 8), infrared], -1)
  file = tiff(image, photometric="rgb")  # which tags the fourth band as unassociated alpha
  assert (Decoder(channels=4).decode(file, "") == image).all()
  for channels in (1, 3):
    with pytest.raises(UnsupportedImage, match="a.tif: its last band is tagged as transparency, but does not"):
      read(file, channels=channels)


def test_samples_without_a_meaning_are_channels():
  four = tiff(RGBA, planarconfig="contig")
  assert read(four, channels=4) == RGBA[0].tolist() and read(tiff(COLOR, planarconfig="contig")) == COLOR[0].tolist()
  for channels in (1, 3):
    with pytest.raises(WrongChannels, match="data.channels=4 reads them"):
      read(four, channels=channels)
  transparent = tiff(np.concatenate([GRAY[..., None], ALPHA], -1), planarconfig="contig", extrasamples=["unassalpha"])
  assert read(transparent, channels=1) == [255, 177, 255] and read(transparent, channels=2) == [[0, 0], [100, 128], [255, 255]]


def test_other_colors_have_the_right_values():
  lab = tiff(np.array([[[138, 81, 70], [128, 0, 0]]], np.uint8), photometric="cielab")  # red, and gray of L* 50
  assert np.allclose(read(lab), [[255, 0, 0], [119, 119, 119]], atol=5)
  assert np.allclose(read(lab, channels=1), [78, 119], atol=3)
  cmyk = tiff(np.array([[[0, 255, 255, 0], [0, 0, 0, 0], [0, 0, 0, 255]]], np.uint8), photometric="separated")
  assert read(cmyk) == [[255, 0, 0], [255, 255, 255], [0, 0, 0]]
  ycbcr = tiff(np.array([[[76, 85, 255], [255, 128, 128]]], np.uint8), photometric="ycbcr", subsampling=(1, 1))
  assert np.allclose(read(ycbcr), [[255, 0, 0], [255, 255, 255]], atol=2)
  jpeg = coded(Image.fromarray(quarters()).convert("YCbCr"), "TIFF", compression="jpeg")
  assert np.median(abs(Decoder().decode(jpeg, "").astype(int) - quarters())) <= 4
  palette = Image.fromarray(quarters()).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
  assert (Decoder().decode(coded(palette, "TIFF"), "") == np.asarray(palette.convert("RGB"))).all()


@pytest.mark.parametrize("photometric,samples", [("cielab", 3), ("separated", 4), ("icclab", 3), ("cfa", 1)])
def test_other_colors_of_16_bits_are_unsupported(photometric, samples):
  image = np.zeros((2, 2, samples), np.uint16).squeeze()
  for channels in (1, 3):
    with pytest.raises(UnsupportedImage, match=f"16 bits in {photometric.upper()} colors; convert it to RGB or grayscale"):
      read(tiff(image, photometric=photometric), channels=channels, bit_depth=16)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate"])
def test_compressed_tiffs_of_many_bits_have_the_right_values(compression):
  assert np.allclose(read(coded(TWELVE, "TIFF", compression=compression), channels=1, bit_depth=12), WIDE, atol=1)
  assert read(coded(GRAY.astype(np.int32), "TIFF", compression=compression), channels=1) == [0, 100, 255]


def test_twelve_bits_that_are_packed():
  file = tiff(np.array([[0x00, 0x03, 0xE8, 0xFF, 0xF0, 0x00]], np.uint8))  # 0, 1000, 4095, 0 in 12 bits each
  for tag, before, after in ((256, 6, 4), (258, 8, 12)):  # width, bits per sample
    kind = 3 if struct.pack("<HHII", tag, 3, 1, before) in file else 4
    file = file.replace(struct.pack("<HHII", tag, kind, 1, before), struct.pack("<HHII", tag, kind, 1, after))
  stored = Decoder(channels=1).stored(file, "")
  assert stored.declared == 12 and stored.pixels.ravel().tolist() == [0, 1000, 4095, 0]


def test_tiffs_that_need_another_package_are_unsupported():
  color = cv2.imencode(".tiff", np.ascontiguousarray(COLOR[..., ::-1]) * np.uint16(257))[1].tobytes()  # LZW
  assert read(color, bit_depth=16) == (COLOR[0].astype(int) * 257).tolist()
  four = cv2.imencode(".tiff", np.ascontiguousarray(RGBA[..., [2, 1, 0, 3]]) * np.uint16(257))[1].tobytes()
  try:
    import imagecodecs  # noqa: F401  # type: ignore
  except ModuleNotFoundError:
    with pytest.raises(UnsupportedImage, match=r"LZW compression of this kind of pixels needs pip install 'jaxssl\[tiff\]'"):
      read(four, channels=4, bit_depth=16)
  else:
    assert read(four, channels=4, bit_depth=16) == (RGBA[0].astype(int) * 257).tolist()


def test_png_of_16_bits_keeps_them_with_transparency_and_orientation():
  deep, full = RGBA.astype(np.uint16) * 257, {"bit_depth": 16}
  assert np.allclose(read(png16(deep, 6), **full), np.array(ON_WHITE) * 257, atol=257)
  assert read(png16(deep[..., :3], 2), **full) == deep[0, :, :3].tolist()
  key = chunk(b"tRNS", struct.pack(">HHH", *map(int, deep[0, 1, :3])))
  assert read(png16(deep[..., :3], 2, key), **full) == [deep[0, 0, :3].tolist(), [65535] * 3, deep[0, 2, :3].tolist()]
  gray = np.array([[[0], [1000], [65535]]], np.uint16)
  assert read(png16(gray, 0), channels=1, **full) == [0, 1000, 65535]
  assert read(png16(gray, 0, chunk(b"tRNS", struct.pack(">H", 1000))), channels=1, **full) == [0, 65535, 65535]
  half = np.concatenate([gray, np.full_like(gray, 32768)], -1)
  assert np.allclose(read(png16(half, 4), channels=1, **full), [32767, 33267, 65535], atol=2)
  turned = Decoder(channels=1, **full).decode(coded(gray[..., 0], "PNG", exif=exif(6)), "")
  assert turned.shape == (3, 1, 1) and turned.squeeze().tolist() == [0, 1000, 65535]
  with pytest.raises(DecodeError, match="a.tif: "):
    read(png16(np.tile(deep[..., :3], (50, 50, 1)), 2)[:200], **full)


@pytest.mark.parametrize("magic", [b"P5 3 1 4095\n", b"P5\n# a comment\n3 1\n# another\n4095\n"])
def test_pgm_and_ppm_have_the_range_that_they_state(magic):
  body = TWELVE.astype(">u2").tobytes()
  assert np.allclose(read(magic + body, channels=1, bit_depth=12), WIDE, atol=1)
  assert read(b"P6 1 1 1000\n" + np.array([0, 500, 1000], ">u2").tobytes(), bit_depth=10) == [0, 32735, 65535]
  assert np.allclose(read(b"P2 3 1 4095\n0 1000 4095\n", channels=1, bit_depth=12), WIDE, atol=1)
  assert read(b"P5 3 1 15\n\0\7\x0f", channels=1) == [0, 119, 255]
  for damaged in (magic + body[:3], magic.replace(b"4095", b"4000") + body, magic.replace(b"4095", b"99999") + body):
    with pytest.raises(DecodeError, match="a.tif: a PNM"):
      read(damaged, channels=1, bit_depth=12)


def test_jpeg_2000_keeps_gray_of_16_bits_and_blends_only_declared_transparency():
  assert read(coded(TWELVE, "JPEG2000"), channels=1, bit_depth=12) == [round(x) for x in WIDE]
  centered = bytearray(coded((TWELVE.astype(int) - 2048 + 32768).astype(np.uint16), "JPEG2000"))
  centered[centered.index(b"\xff\x4f\xff\x51") + 42] = 11  # states 12 bits, whose middle is 2048
  assert read(bytes(centered), channels=1, bit_depth=12) == [round(x) for x in WIDE]
  assert Decoder(channels=1).stored(bytes(centered), "").declared == 12
  file = coded(RGBA, "JPEG2000")
  assert np.allclose(read(file), ON_WHITE, atol=1)
  with pytest.raises(UnsupportedImage, match="JPEG 2000 of 4 channels without a declared meaning; convert it to TIFF"):
    read(file.replace(b"cdef", b"xxxx"))
  deep = bytearray(coded(COLOR, "JPEG2000"))
  deep[deep.index(b"\xff\x4f\xff\x51") + 42] = 11  # states 12 bits
  with pytest.raises(UnsupportedImage, match="a JPEG 2000 of 3 x 12 bits; convert it to TIFF"):
    read(bytes(deep))
