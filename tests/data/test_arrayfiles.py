"""Images of 16 bits and of many channels, from files to batches."""

import logging

import numpy as np
import pytest

from jaxssl.config.schema import DataConfig, ViewConfig
from jaxssl.core import UserError
from jaxssl.data import statistics
from jaxssl.data.datasets import open_datasets
from jaxssl.data.file_kinds import DecodeError, UnsupportedImage, WrongChannels
from jaxssl.data.image_io import center, match, viewable
from jaxssl.data.input_pipeline import inference, resident
from tests.data.fixtures import batches, coded, decode, folder, npy, quarters, tiff


def deep(channels, height=12, width=16, seed=0, dtype=np.uint16):
  maximum = np.iinfo(dtype).max
  return np.random.default_rng(seed).integers(0, maximum + 1, (height, width, channels)).astype(dtype)


@pytest.mark.parametrize("channels", [2, 4, 5, 13])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_all_layouts_decode_to_the_same_image(channels, dtype):
  image = deep(channels, dtype=dtype)
  pages = image.transpose(2, 0, 1)
  files = [npy(image), npy(image.astype(image.dtype.newbyteorder(">"))), tiff(pages), tiff(pages, byteorder=">")]
  files += [tiff(pages, planarconfig="separate"), tiff(image, planarconfig="contig"), tiff(pages, compression="zlib")]
  for data in files:
    read = decode(data, channels, "", dtype)
    assert read.dtype == dtype and (read == image).all()


def test_sixteen_bit_images_convert_between_gray_and_color():
  gray, color = deep(1), deep(3)
  for data, image in ((coded(gray[..., 0], "PNG"), gray), (tiff(gray[..., 0]), gray), (npy(gray[..., 0]), gray)):
    assert (decode(data, 1, "", np.uint16) == image).all()
    assert (decode(data, 3, "", np.uint16) == np.repeat(image, 3, -1)).all()
  assert (decode(tiff(color, photometric="rgb"), 3, "", np.uint16) == color).all()
  assert (decode(coded(quarters(), "PNG"), 3, "", np.uint16) == quarters() * np.uint16(257)).all()


def test_arrays_that_are_not_images_are_rejected():
  pickled = npy(np.array([{}], dtype=object))
  for data in (npy(np.zeros((4, 4, 2))), npy(np.zeros(4, np.uint8)), tiff(np.zeros((2, 3, 8, 8), np.uint8)), pickled):
    with pytest.raises(UnsupportedImage, match="a.npy: .*(pixels; scale them to integers|; expected)"):
      decode(data, 2, "a.npy")
  with pytest.raises(DecodeError, match="a.npy: an empty image"):
    decode(npy(np.zeros((4, 0), np.uint8)), 1, "a.npy")
  with pytest.raises(WrongChannels, match="a.png: has 3 channels, but data.channels=5; data.channels=3 reads them"):
    decode(coded(quarters(), "PNG"), 5, "a.png")
  with pytest.raises(WrongChannels, match="a: has 5 channels, but data.channels=3"):
    match(deep(5), 3, np.uint8, "a")


@pytest.mark.parametrize("channels,dtype", [(5, np.uint16), (5, np.uint8), (3, np.uint16), (2, np.uint8)])
def test_center_and_viewable_accept_any_channels_and_depth(channels, dtype):
  flat = np.full((20, 30, channels), np.arange(1, channels + 1) * 50, dtype)
  assert (center(flat, 10, 10) == flat[:10, :10]).all() and center(flat, 0, 10).dtype == dtype
  shown = viewable(deep(channels, dtype=dtype))
  assert shown.shape == (12, 16, 3) and shown.dtype == np.uint8 and (shown.max() == 255 or channels == 2)


def config(where, channels=5, **fields):
  kind = {"channels": channels, "bit_depth": 16, "mean": (), "std": (), **fields}
  return DataConfig(source="folder", path=where, **kind)


@pytest.fixture
def where(tmp_path):
  return folder(tmp_path / "cells", {f"{k:02}.npy": npy(deep(5, seed=k)) for k in range(24)})


def test_batches_have_the_dtype_of_the_files(where):
  source = open_datasets(config(where), 0).train.source
  whole = np.stack([deep(5, seed=k) for k in range(24)])
  assert (resident(source, 0) == whole).all()
  index = np.arange(24, dtype=np.int32).reshape(3, 8)
  views = {"weak": ViewConfig(count=1, size=12, crop_scale=(0.3, 1.0))}
  for _, _, crops in batches(source, index, index, views):
    assert crops["weak"].shape == (8, 1, 12, 12, 5) and crops["weak"].dtype == np.uint16 and crops["weak"].max() > 255
  for images in inference(source, index, 0, 8):
    assert images.shape == (8, 8, 8, 5) and images.dtype == np.uint16


def test_mean_and_std_are_measured(where, caplog):
  images = np.stack([deep(5, seed=k) for k in range(24)]) / 65535
  with caplog.at_level(logging.INFO, "jaxssl"):
    measured = statistics.settled(config(where), open_datasets(config(where), 0).train.source)
  np.testing.assert_allclose(measured.mean, images.mean((0, 1, 2)), rtol=1e-4)
  np.testing.assert_allclose(measured.std, images.std((0, 1, 2)), rtol=1e-4)
  assert "measured on 24 of 24 training images: --config.data.mean=" in caplog.text
  assert statistics.settled(measured, open_datasets(measured, 0).train.source) is measured
  half = statistics.settled(config(where, std=(0.5,)), open_datasets(config(where), 0).train.source)
  assert half.std == (0.5,) and half.mean == measured.mean


def test_a_constant_channel_has_deviation_one(tmp_path):
  where = folder(tmp_path, {"a.npy": npy(np.full((8, 8, 2), 7, np.uint16))})
  assert statistics.settled(config(where, 2), open_datasets(config(where, 2), 0).train.source).std == (1.0, 1.0)


@pytest.mark.parametrize("placed", ["resident", "host"])
def test_wrong_channels_are_errors_that_name_files(where, placed):
  with pytest.raises(UserError, match="00.npy: has 5 channels, but data.channels=4; .*none of the first images has"):
    resident(open_datasets(config(where, 4), 0).train.source, 0)
  folder(where, {"07.npy": npy(deep(4))})
  source = open_datasets(config(where), 0).train.source
  with pytest.raises(UserError, match=r"07.npy: has 4 channels, but data.channels=5; .*00.npy has the right number"):
    if placed == "resident":
      resident(source, 0)
    index = np.arange(24, dtype=np.int32).reshape(3, 8)
    batches(source, index, index, {"weak": ViewConfig(count=1, size=8)})


@pytest.mark.parametrize("options", [{"imagej": True}, {"ome": True}])
def test_pages_are_channels_if_metadata_says_so(options):
  image = np.arange(24, dtype=np.uint16).reshape(3, 2, 4)
  data = tiff(image, metadata={"axes": "CYX"}, **options)
  assert (decode(data, 3) == np.moveaxis(image, 0, -1)).all()
  for channels in (1, 5):
    with pytest.raises(WrongChannels, match=f"has 3 channels.*, but data.channels={channels}; data.channels=3 reads them"):
      decode(data, channels)
  frames = tiff(image, metadata={"axes": "TYX"}, **options)
  assert (decode(frames, 1)[..., 0] == image[0]).all()
