"""Items of the calling program become the same pixels as files."""

import io
import logging

import numpy as np
import pytest
from PIL import Image

from jaxssl.data.file_kinds import UnsupportedImage, WrongChannels
from jaxssl.data.image_io import Decoder
from jaxssl.data.inputs import as_source
from tests.data.fixtures import coded, decode, exif, quarters, tiff
from tests.data.stand_ins import Tensor

RGB = quarters(6, 8)
GRAY = RGB[..., 0]
DEEP = GRAY.astype(np.uint16) * 257 + 3


def opened(items, channels=3, dtype=np.uint8):
  return as_source(items, "train array", Decoder(channels=channels, bit_depth=8 * np.dtype(dtype).itemsize))


def pil(mode):
  """Returns an image of a mode, with palette, transparency or inverted ink where the mode has them."""
  if mode == "RGBA":
    return Image.fromarray(np.dstack([RGB, GRAY]))
  return Image.fromarray(DEEP) if mode == "I;16" else Image.fromarray(RGB).convert(mode)


FILES = [
  *((mode, "PNG") for mode in ("1", "L", "P", "LA", "RGB", "RGBA", "I;16")),
  *((mode, "TIFF") for mode in ("1", "L", "P", "RGB", "CMYK", "LAB", "I;16")),
]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("mode, kind", FILES)
def test_pil_images_are_read_as_their_files(mode, kind, channels, dtype):
  image, dtype = pil(mode), np.uint16 if mode == "I;16" else dtype
  file = coded(image, kind)
  expected = decode(file, channels, "", dtype)
  source = opened([image, Image.open(io.BytesIO(file))], channels, dtype)
  assert source.read(0).dtype == dtype and source.encoded(0) is None
  for index in range(2):
    np.testing.assert_array_equal(source.read(index), expected)


@pytest.mark.parametrize("mode", ["HSV", "YCbCr", "RGBX", "RGBa", "La", "PA"])
def test_pil_images_of_modes_that_files_do_not_have(mode):
  base = pil("RGBA") if mode == "RGBa" else pil("LA") if mode == "La" else pil("P") if mode == "PA" else pil("RGB")
  expected = opened([base]).read(0).astype(int)
  assert abs(opened([base.convert(mode)]).read(0) - expected).max() <= 4  # they are rounded twice


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_zero_is_white_in_a_tiff_that_pil_has_opened(dtype):
  file = tiff(GRAY.astype(dtype), photometric="miniswhite")
  source = opened([Image.open(io.BytesIO(file))], 1, dtype)
  np.testing.assert_array_equal(source.read(0)[..., 0], np.iinfo(dtype).max - GRAY.astype(dtype))
  np.testing.assert_array_equal(source.read(0), decode(file, 1, "", dtype))


def test_a_fourth_band_that_is_tagged_as_transparency_is_not_blended():
  bands = np.dstack([RGB, GRAY])
  file = tiff(bands, photometric="rgb", extrasamples=["unassalpha"])
  with pytest.raises(UnsupportedImage, match="train array image 0: its last band is tagged as transparency, but does not look"):
    opened([Image.open(io.BytesIO(file))])


def test_values_of_pil_images():
  assert (opened([pil("P")]).read(0) != np.asarray(pil("P"))[..., None]).any()  # colors, not their numbers
  clear = Image.new("RGBA", (2, 2), (9, 9, 9, 0))
  assert (opened([clear]).read(0) == 255).all()
  assert opened([Image.new("CMYK", (2, 2), (0, 255, 255, 0))]).read(0)[0, 0].tolist() == [255, 0, 0]
  assert opened([Image.new("I", (2, 2), 4660)], 1, np.uint16).read(0)[0, 0] == 4660
  np.testing.assert_array_equal(opened([pil("I;16")], 1, np.uint16).read(0)[..., 0], DEEP)


@pytest.mark.parametrize("turn", range(1, 9))
def test_the_orientation_of_pil_images_is_applied(turn):
  file = coded(RGB, "PNG", exif=exif(turn))
  image = Image.open(io.BytesIO(file))
  np.testing.assert_array_equal(opened([image]).read(0), decode(file, 3, ""))
  assert image.size == (8, 6) and (turn < 5) == (opened([image]).read(0).shape == RGB.shape)


@pytest.mark.parametrize(
  "item, expected",
  [
    (RGB, RGB),
    (GRAY, np.repeat(GRAY[..., None], 3, -1)),
    (GRAY[..., None], np.repeat(GRAY[..., None], 3, -1)),
    (GRAY.astype(">u2"), np.repeat(GRAY[..., None], 3, -1)),  # integers of any type, as in files
    (RGB.astype(int), RGB),
    (Tensor(GRAY.astype(int)), np.repeat(GRAY[..., None], 3, -1)),
    (Tensor(RGB.transpose(2, 0, 1)), RGB),
    (Tensor(GRAY), np.repeat(GRAY[..., None], 3, -1)),
    (Tensor(RGB.transpose(2, 0, 1) / np.float32(255)), RGB),
    (Tensor(RGB.transpose(2, 0, 1) / 255), RGB),
    (coded(RGB, "PNG"), RGB),
    (memoryview(tiff(RGB, photometric="rgb")), RGB),
    ({"bytes": coded(RGB, "PNG"), "path": None}, RGB),  # Hugging Face, undecoded
  ],
  ids=[
    "rgb",
    "gray",
    "one channel",
    "16 bits",
    "int64",
    "int64 tensor",
    "tensor",
    "gray tensor",
    "float32",
    "float64",
    "bytes",
    "view",
    "huggingface",
  ],
)
@pytest.mark.parametrize(
  "wrap",
  [
    lambda x: x,
    lambda x: (x,),
    lambda x: (x, 3),
    lambda x: [x, "cat"],
    lambda x: (x, 3, np.zeros(4)),
    lambda x: {"image": x, "label": 3},
    lambda x: {"img": x, "id": 3},
  ],
  ids=["bare", "single", "pair", "list", "triple", "mapping", "img"],
)
def test_items_of_every_kind(item, expected, wrap):
  source = opened([wrap(item)])
  np.testing.assert_array_equal(source.read(0), expected)
  assert source.read(0).dtype == np.uint8 and len(source) == 1 and source.describe(0) == "train array image 0"


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_floats_of_tensors_keep_more_bits_if_they_are_asked_for(bits, caplog):
  top = 2**bits - 1
  values = np.linspace(0, top, 48).round().astype(np.uint16).reshape(1, 6, 8)
  source = as_source([Tensor(values / np.float32(top))], "train array", Decoder(channels=1, bit_depth=bits))
  np.testing.assert_array_equal(source.stored(0).pixels[..., 0], values[0])
  np.testing.assert_array_equal(source.read(0), decoded_range(values, bits))
  assert not caplog.records


def decoded_range(values, bits):
  return np.rint(values[0][..., None] * (65535 / (2**bits - 1))).astype(np.uint16)


@pytest.mark.parametrize("bit_depth", [0, 8])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_finer_than_8_bits_are_noted(bit_depth, dtype, caplog):
  with caplog.at_level(logging.INFO, "jaxssl"):
    as_source([Tensor((GRAY / 255).astype(dtype))], "train array", Decoder(bit_depth=bit_depth))
    assert not caplog.records
    as_source([Tensor(np.linspace(0, 1, 99).astype(dtype).reshape(9, 11))], "train array", Decoder(bit_depth=bit_depth))
  [line] = caplog.records
  assert line.getMessage() == "train array: floats from 0 to 1 are read with 8 bits; --config.data.bit_depth=16 keeps 16"


FLOATS = "torch tensor of floats from"


@pytest.mark.parametrize(
  "item, message",
  [
    (RGB / 255, r"float64 pixels; scale them to integers, uint8 or uint16 \(255 \* x, rounded, if they are from 0 to 1\)"),
    (GRAY > 99, r"bool pixels; scale them to integers, uint8 or uint16 \(255 \* x\)"),
    (Tensor(GRAY > 99), r"bool pixels; scale them to integers, uint8 or uint16 \(255 \* x\)"),
    (np.array([[None, 3]]), "object values, which are not pixels; expected integers, uint8 or uint16"),
    (GRAY[0], r"an array \[8\]; expected \[h, w\] or \[h, w, c\]"),
    (RGB[None], r"an array \[1, 6, 8, 3\]; expected \[h, w\] or \[h, w, c\]"),
    (Tensor(GRAY / 1.0), f"a {FLOATS} 20 to 240; expected 0 to 1: divide by 255"),
    (Tensor(GRAY / 255 - 0.5), f"a {FLOATS} -0.42.* to 0.44.*; expected 0 to 1: leave out Normalize"),
    (Tensor(GRAY * 99.0), f"a {FLOATS} 1980 to .*; expected 0 to 1: scale them"),
    (Tensor(np.full((2, 2), np.nan)), f"a {FLOATS} nan to nan; expected 0 to 1"),
    (Image.fromarray(GRAY.astype(np.float32)), "floating-point pixels; scale them to integers, uint8 or uint16"),
    (Image.new("L", (300, 300)), "300 x 300 pixels are more than data.max_pixels=10000; raise it, or cut the image into tiles"),
    (np.zeros((101, 100, 3), np.uint8), "100 x 101 pixels are more than data.max_pixels=10000"),
  ],
)
def test_images_of_other_values_stop_at_the_first_item(item, message):
  with pytest.raises(UnsupportedImage, match=f"train array image 0: {message}"):
    as_source([item], "train array", Decoder(max_pixels=10_000))


@pytest.mark.parametrize("item", [Image.new("I", (2, 2), 70000), np.full((2, 2), 70000)])
def test_values_above_16_bits(item):
  with pytest.raises(UnsupportedImage, match="train array image 0: values up to 70000, above data.bit_depth=16"):
    opened([item], 1, np.uint16).read(0)


def test_channels_on_the_wrong_axis():
  message = r"image 0: an array \[3, 6, 8\] with its channels first; expected \[h, w, c\], e.g. x.transpose\(1, 2, 0\)"
  with pytest.raises(UnsupportedImage, match=message):
    opened([RGB.transpose(2, 0, 1)]).read(0)
  message = r"image 0: a torch tensor \[6, 8, 3\] with its channels last; expected \[c, h, w\], e.g. x.permute\(2, 0, 1\)"
  with pytest.raises(UnsupportedImage, match=message):
    opened([Tensor(RGB)]).read(0)
  message = r"image 0: has 4 channels, but data.channels=3; .* \(an array \[6, 8, 4\] is read as \[h, w, c\]\)"
  with pytest.raises(WrongChannels, match=message):
    opened([np.dstack([RGB, GRAY])]).read(0)
