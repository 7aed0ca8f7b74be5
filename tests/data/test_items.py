"""Items of the calling program become the same pixels as files; what is not an image stops with one line."""

import io
import pathlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from jaxssl.core import UserError
from jaxssl.data.arrays import ArraySource
from jaxssl.data.image_io import DecodeError, WrongChannels, decode
from jaxssl.data.inputs import as_source
from jaxssl.data.unreadable import SubstituteUnreadable
from tests.data.fixtures import coded, exif, flat, photo, quarters, tiff
from tests.data.stand_ins import HuggingFace, Tensor, TorchDataset

RGB = quarters(6, 8)
GRAY = RGB[..., 0]
DEEP = GRAY.astype(np.uint16) * 257 + 3


def opened(items, channels=3, dtype=np.uint8):
  return as_source(items, "train array", channels, np.dtype(dtype))


def pil(mode):
  """Returns an image of a mode, with palette, transparency or inverted ink where the mode has them."""
  if mode == "RGBA":
    return Image.fromarray(np.dstack([RGB, GRAY]))
  return Image.fromarray(DEEP) if mode == "I;16" else Image.fromarray(RGB).convert(mode)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
  "mode, kind",
  [*((mode, "PNG") for mode in ("1", "L", "P", "LA", "RGB", "RGBA", "I;16")), ("CMYK", "TIFF")],
)
def test_pil_images_are_read_as_their_files(mode, kind, channels, dtype):
  image = pil(mode)
  file = coded(image, kind)
  expected = decode(file, channels, "", dtype)
  source = opened([image, Image.open(io.BytesIO(file))], channels, dtype)
  assert source.read(0).dtype == dtype and source.encoded(0) is None
  for index in range(2):
    np.testing.assert_array_equal(source.read(index), expected)


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
    (DEEP.astype(">u2"), np.repeat(GRAY[..., None], 3, -1)),
    (Tensor(RGB.transpose(2, 0, 1)), RGB),
    (Tensor(GRAY), np.repeat(GRAY[..., None], 3, -1)),
    (Tensor(RGB.transpose(2, 0, 1) / np.float32(255)), RGB),
    (Tensor(RGB.transpose(2, 0, 1) / 255), RGB),
    (coded(RGB, "PNG"), RGB),
    (memoryview(tiff(RGB, photometric="rgb")), RGB),
    ({"bytes": coded(RGB, "PNG"), "path": None}, RGB),  # Hugging Face, undecoded
  ],
  ids=["rgb", "gray", "one channel", "16 bits", "tensor", "gray tensor", "float32", "float64", "bytes", "view", "huggingface"],
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


def test_floats_of_tensors_keep_16_bits():
  source = opened([Tensor(DEEP[None] / np.float32(65535))], 1, np.uint16)
  np.testing.assert_array_equal(source.read(0)[..., 0], DEEP)


@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_paths_and_bytes_are_read_as_files(kind, tmp_path):
  data = coded(photo(0, 60, 80))
  (tmp_path / "a.jpg").write_bytes(data)
  for items in (
    [kind(tmp_path / "a.jpg")],
    np.array([kind(tmp_path / "a.jpg")]),
    [{"path": kind(tmp_path / "a.jpg"), "bytes": None}],
  ):
    source = opened(items)
    assert source.encoded(0) == data  # JPEGs are decoded at a reduced size for crops
    np.testing.assert_array_equal(source.read(0), decode(data, 3, ""))
  assert opened([data, kind(tmp_path / "a.jpg")]).encoded(1) == data


def test_a_file_that_is_gone_or_damaged_is_unreadable(tmp_path):
  path = tmp_path / "a.png"
  path.write_bytes(flat(9))
  gone = str(tmp_path / "gone.png")
  source = opened([gone, str(path), b"no image"])
  with pytest.raises(DecodeError, match="train array image 0: .*gone.png: No such file or directory"):
    source.read(0)
  with pytest.raises(DecodeError, match="train array image 2: not an image of a known format"):
    source.read(2)
  path.write_bytes(b"damaged")
  with pytest.raises(DecodeError, match=r"train array image 1 \(.*a.png\): not an image"):
    source.read(1)
  cut = Image.open(io.BytesIO(coded(photo(), "PNG")[:3000]))
  with pytest.raises(DecodeError, match="train array image 0: .*truncated"):
    opened([cut]).read(0)


@pytest.mark.parametrize(
  "item, message",
  [
    ([1, 2, 3], "a list of 3"),
    (None, "None"),
    (7, "an int"),
    (np.uint8(7), "an? uint8"),
    (([RGB, RGB], 1), "a tuple of 2, first a list of 2"),
    ((RGB, RGB), "a tuple of 2 with 2 images: return one, since views are cut from it"),
    (("a.png", "b.png"), "a tuple of 2 with 2 images: return one, .*"),
    ({"pixel_values": RGB, "label": 1}, "a mapping with the keys pixel_values, label"),
    ({"image": [RGB], "label": 1}, "a mapping with the keys image, label, and its image is a list of 1"),
    ((), "a tuple of 0"),
  ],
)
def test_what_is_not_an_image_stops_at_the_first_item(item, message):
  with pytest.raises(UserError, match=f"train array: item 0 is {message}; expected an image: a PIL image, an array"):
    opened([item])


@pytest.mark.parametrize(
  "item, message",
  [
    (RGB / 255, r"float64 \[6, 8, 3\]; expected \[h, w\] or \[h, w, c\] of uint8 or uint16, e.g. \(255 \* x\).round\(\)"),
    (RGB.astype(int), r"int64 \[6, 8, 3\]; expected"),
    (GRAY[0], r"uint8 \[8\]; expected"),
    (np.zeros((0, 4), np.uint8), r"uint8 \[0, 4\]; expected"),
    (Tensor(GRAY.astype(int)), r"int64 \[6, 8\]; expected \[h, w\] or \[c, h, w\] of uint8, uint16, or floats from 0 to 1"),
    (Tensor(GRAY / 100), "floats from 0.* to 2.4; expected 0 to 1: leave out Normalize, or clamp"),
    (Tensor(GRAY / 255 - 0.5), "floats from -0.*expected 0 to 1"),
    (Tensor(np.full((2, 2), np.nan)), "floats from nan to nan; expected 0 to 1"),
    (Image.fromarray(GRAY.astype(np.float32)), "floating-point pixels; expected 8 or 16 bits"),
    (Image.new("I", (2, 2), 70000), "values outside of 16 bits"),
  ],
)
def test_images_of_other_values_stop_at_the_first_item(item, message):
  with pytest.raises(UserError, match=f"train array: item 0 is an? (array|torch tensor|PIL image): {message}"):
    opened([item])


def test_channels_on_the_wrong_axis():
  with pytest.raises(
    WrongChannels, match=r"image 0 has 8 channels, but data.channels=3 \(an array \[3, 6, 8\] is read as \[h, w, c\]\)"
  ):
    opened([RGB.transpose(2, 0, 1)])
  with pytest.raises(WrongChannels, match=r"\(a torch tensor \[6, 8, 3\] is read as \[c, h, w\]\)"):
    opened([Tensor(RGB)])
  with pytest.raises(UserError, match=r"train array: uint8 \[1, 3, 6, 8\] has its channels first; expected \[n, h, w, c\]"):
    opened(RGB.transpose(2, 0, 1)[None])


def test_a_later_item_of_another_kind_is_named():
  items = [RGB, Image.fromarray(RGB), (RGB, 1), "a.png", None, RGB / 255]
  source = opened(items)
  texts = ["a PIL image", "a pair with an array", "the path or bytes of a file"]
  for index, text in enumerate(texts, 1):
    with pytest.raises(UserError, match=f"train array: item {index} is {text}, but the first is an array; expected one kind"):
      source.read(index)
  with pytest.raises(UserError, match="train array: item 4 is None; expected an image"):
    source.read(4)
  for read in (source.read, SubstituteUnreadable(source).read):  # not counted as unreadable
    with pytest.raises(UserError, match=r"train array: item 5 is an array: float64 \[6, 8, 3\]"):
      read(5)
  with pytest.raises(UserError, match="item 1 is an array, but the first is the path or bytes of a file"):
    opened([flat(1), RGB]).encoded(1)


class Unreliable(TorchDataset):
  def __getitem__(self, index):
    if self.items[index] is None:
      raise OSError("the disk")
    return super().__getitem__(index)


def test_items_that_raise_are_unreadable():
  source = opened(Unreliable([None, RGB, None, RGB]))
  with pytest.raises(DecodeError, match="train array image 2: OSError: the disk"):
    source.read(2)
  assert (source.read(1) == RGB).all()
  with pytest.raises(UserError, match="train array: none of the first 2 items can be read, e.g. train array image 0: OSError"):
    opened(Unreliable([None, None]))
  assert len(opened([])) == 0


@pytest.mark.parametrize(
  "images, message",
  [
    ("folder", "one path, folder; expected a list of paths; data.path names a folder"),
    (pathlib.Path("folder"), "one path, folder; expected a list of paths"),
    (flat(1), "one image, the path or bytes of a file; expected several"),
    (Image.fromarray(RGB), r"one image, a PIL image; expected several, e.g. \[image\]"),
    (Tensor(RGB.transpose(2, 0, 1)), "one image, a torch tensor; expected several"),
    (RGB, r"uint8 \[6, 8, 3\] is one image; expected several, \[n, h, w, c\], e.g. image\[None\]"),
    ((RGB[None], [0], 1), r"a tuple of 3; expected \(images, labels\), or a list of images"),
    ({"train": [RGB], "test": [RGB]}, "a dict with the keys train, test; expected images, e.g. one of its values"),
    (
      iter([RGB]),
      "a list_iterator has no length or no items by index; expected an array, or an object with a length and items",
    ),
    ({RGB.tobytes()}, "a set has no length or no items by index"),
    ((ArraySource(RGB[None]), [1]), "labels beside a source; expected the source only"),
  ],
)
def test_what_has_no_items_stops(images, message):
  with pytest.raises(UserError, match=f"train array: {message}"):
    opened(images)


def test_whole_tensors_and_arrays_of_other_libraries():
  import jax.numpy as jnp

  images = np.stack([RGB, 255 - RGB])
  for many in (images, jnp.asarray(images), Tensor(images.transpose(0, 3, 1, 2))):
    source = opened(many)
    assert len(source) == 2 and (source.read(1) == images[1]).all()
  assert (opened(Tensor(np.stack([GRAY] * 9))).read(8)[..., 2] == GRAY).all()


def test_a_pil_image_is_loaded_by_one_thread_at_a_time(tmp_path):
  """Files that PIL opens are read at first use, by whichever threads come first."""
  expected = photo(0, 600, 800)
  for repeat in range(4):
    Image.fromarray(expected).save(tmp_path / f"{repeat}.png")
    source = opened([Image.fromarray(RGB), Image.open(tmp_path / f"{repeat}.png")])
    with ThreadPoolExecutor(8) as pool:
      for pixels in pool.map(source.read, [1] * 8):
        np.testing.assert_array_equal(pixels, expected)


def test_an_item_is_read_once_for_its_crops():
  dataset = TorchDataset([(RGB, 1)] * 3)
  source = opened(dataset)
  before = dataset.reads
  assert source.encoded(2) is None and dataset.reads == before  # a source without files is then asked for pixels
  rows = HuggingFace({"image": [coded(RGB, "PNG")], "label": [0]}, {"image": None, "label": None})
  source, before = opened(rows), rows.rows
  assert source.encoded(0) and rows.rows == before + 1
