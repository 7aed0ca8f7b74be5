"""Items are read by index; what cannot be read counts as unreadable, and what is not an image stops."""

import io
import pathlib
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from jaxssl.config.schema import Config, DataConfig, ViewConfig
from jaxssl.core import UserError
from jaxssl.data import resident_size
from jaxssl.data.datasets import open_datasets
from jaxssl.data.file_kinds import DecodeError, UnsupportedImage
from jaxssl.data.identity import manifest_of
from jaxssl.data.image_io import Decoder
from jaxssl.data.inputs import as_source
from jaxssl.data.unreadable import SubstituteUnreadable
from jaxssl.evals.evaluator import Evaluator
from jaxssl.parallel.mesh import make_mesh
from tests.data.fixtures import coded, decode, flat, folder, photo, quarters, tiff
from tests.data.stand_ins import HuggingFace, Tensor, TorchDataset

RGB = quarters(6, 8)


def opened(items):
  return as_source(items, "train array", Decoder())


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
  with pytest.raises(DecodeError, match="train array image 0 .*gone.png.: No such file or directory"):
    source.read(0)
  with pytest.raises(DecodeError, match="train array image 2: not an image of a known format"):
    source.read(2)
  path.write_bytes(b"damaged")
  with pytest.raises(DecodeError, match=r"train array image 1 \(.*a.png\): not an image"):
    source.read(1)
  cut = Image.open(io.BytesIO(coded(photo(), "PNG")[:3000]))
  with pytest.raises(DecodeError, match="train array image 1: .*truncated"):
    opened([Image.fromarray(RGB), cut]).read(1)


def test_a_list_of_which_nothing_can_be_read_stops_when_it_is_opened(tmp_path):
  with pytest.raises(
    UserError, match=r"none of the first 2 items can be read, e.g. train array image 0 \(a.png\): No such file"
  ):
    opened(["a.png", "b.png"])
  (tmp_path / "a.png").write_bytes(flat(1))
  with pytest.raises(UserError, match="none of the first 1 items can be read, e.g. train array image 0: an empty image"):
    opened([np.zeros((0, 4, 3), np.uint8)])
  with Image.open(io.BytesIO(flat(1))) as closed, Image.open(tmp_path / "a.png") as file:
    pass
  for image in (closed, file):
    with pytest.raises(UserError, match="image 0: it was closed before its pixels were read; call load.. before"):
      opened([image])


def test_a_later_item_of_another_kind_is_named():
  items = [RGB, Image.fromarray(RGB), (RGB, 1), "a.png", None, RGB / 255]
  source = opened(items)
  texts = ["a PIL image", "a pair with an array", "the path or bytes of a file"]
  for index, text in enumerate(texts, 1):
    with pytest.raises(
      UnsupportedImage, match=f"train array: item {index} is {text}, but the first is an array; expected one kind"
    ):
      source.read(index)
  with pytest.raises(UserError, match="train array: item 4 is None; expected an image"):
    source.read(4)
  for read in (source.read, SubstituteUnreadable(source).read):  # not counted as unreadable
    with pytest.raises(UnsupportedImage, match="train array image 5: float64 pixels; scale them to integers"):
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


def test_lists_of_paths_have_names_and_sizes(tmp_path, monkeypatch):
  data = {name: flat(k, (8 + k, 8)) for k, name in enumerate(("a/0.png", "a/1.png", "b/0.png"))}
  before, after = (folder(tmp_path / place, data) for place in ("one", "two/inner"))
  lists = [[f"{root}/{name}" for name in data] for root in (before, after)]
  first = manifest_of(opened(lists[0]))
  assert first.name(0) == "a/0.png" and first.fingerprints.tolist() == [len(file) for file in data.values()]
  assert manifest_of(opened([(path, 0) for path in lists[1]])).digest == first.digest  # moved as a whole
  monkeypatch.chdir(before)
  assert manifest_of(opened([{"image": path} for path in data])).digest == first.digest  # relative to the current folder
  assert manifest_of(opened(np.array(lists[0][::-1]))).digest != first.digest
  source = opened(lists[0])
  assert source.describe(1) == f"train array image 1 ({before}/a/1.png)" and source.describe(3) == "train array image 3"


@pytest.mark.parametrize("items", [[RGB] * 3, [flat(1)] * 3, ["a.png", flat(1)], TorchDataset(["a.png", "a.png"])])
def test_other_items_have_no_names(items, tmp_path, monkeypatch):
  folder(tmp_path, {"a.png": flat(1)})
  monkeypatch.chdir(tmp_path)
  manifest = manifest_of(opened(items))
  assert manifest.names is None and manifest.count == len(items) and opened(items).fingerprints(np.arange(1)) is None


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: tiff(x), lambda x: Image.fromarray(x), lambda x: Tensor(x)])
def test_the_range_of_items_is_decided_and_their_sizes_are_compared(wrap):
  deep = [wrap(np.full((40 + k % 2, 40), 4095 - k, np.uint16)) for k in range(4)]
  config = DataConfig(source="array", channels=1, mean=(), std=())
  datasets = open_datasets(config, 0, {"train": deep, "test": deep[1:]})
  assert datasets.config.bit_depth == 12 and datasets.test
  for dataset, value in ((datasets.train, 4095), (datasets.test, 4094)):
    pixels = dataset.source.read(0)
    assert pixels.dtype == np.uint16 and pixels[0, 0, 0] == round(value * 65535 / 4095)
  assert resident_size.settled(config, {"global": ViewConfig(size=28)}, datasets.sources).resident_size == 35
  with pytest.raises(UnsupportedImage, match="image 1.*: values up to 4094, above data.bit_depth=10 .0 to 1023.; start a"):
    as_source(deep, "train array", Decoder(channels=1, bit_depth=10)).read(1)


def test_sets_without_images_stop():
  for arrays in ({"train": []}, {"train": np.zeros((0, 8, 8), np.uint8)}, {"train": [RGB], "test": []}):
    with pytest.raises(UserError, match="^(train|test) array: there are no images; expected at least one"):
      open_datasets(DataConfig(source="array"), 0, arrays)


def test_a_test_set_without_labels_beside_labeled_images_stops(one_device):
  config = Config(data=DataConfig(source="array"), method={"name": "simclr"})
  arrays = {"train": ([RGB, RGB], ["cat", "dog"]), "test": [RGB]}
  network = types.SimpleNamespace()
  with pytest.raises(UserError, match="test array has no labels, but the training set has; expected labels of both"):
    Evaluator(config, make_mesh(), open_datasets(config.data, 0, arrays), network)  # type: ignore[arg-type]
