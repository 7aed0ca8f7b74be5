"""The range of values is decided once from the training images, recorded, and kept."""

import json
import logging

import numpy as np
import pytest

from jaxssl.config.schema import Config, DataConfig
from jaxssl.core import UserError, tree
from jaxssl.data import value_range
from jaxssl.data.datasets import open_datasets, open_splits
from jaxssl.data.file_kinds import UnsupportedImage
from jaxssl.data.folder import FolderSource
from jaxssl.train.config_changes import ConfigChanges
from jaxssl.workdir.workdir import Workdir
from tests.data.fixtures import Images, coded, flat, folder, tiff
from tests.data.test_file_kinds import chunk, png16


def ramp(highest, dtype=np.uint16):
  """Returns [1, 5] values from 0 to `highest`."""
  return np.linspace(0, highest, 5).round().astype(dtype)[None]


def opened(path, channels=1, **fields):
  return open_datasets(DataConfig(source="folder", path=str(path), channels=channels, mean=(), std=(), **fields), 0)


def decided(tmp_path, *files):
  """Returns the depth that is decided for files, and what the first is read as."""
  where = folder(tmp_path, {f"{k}{'.png' if data[1:4] == b'PNG' else '.tif'}": data for k, data in enumerate(files)})
  datasets = opened(where)
  return datasets.config.bit_depth, datasets.train.source.read(0).squeeze()


@pytest.mark.parametrize(
  "highest,depth", [(0, 8), (255, 8), (256, 10), (1023, 10), (1024, 12), (4095, 12), (9999, 14), (20_000, 16), (65535, 16)]
)
def test_the_smallest_depth_covers_the_sample(tmp_path, highest, depth):
  full = 255 if depth == 8 else 65535
  for dtype in (np.uint16, np.int32):
    found, first = decided(tmp_path / f"{dtype.__name__}", tiff(ramp(highest, dtype)), tiff(ramp(0, dtype)))
    assert found == depth and first.dtype == (np.uint8 if depth == 8 else np.uint16)
    assert abs(first.astype(float) - ramp(highest)[0] * (full / (2**depth - 1))).max() <= 0.5


@pytest.mark.parametrize("kind", ["SMaxSampleValue", "MaxSampleValue", "sBIT", "PGM", "the type", "a wrong value"])
def test_metadata_is_preferred_to_the_sample(tmp_path, kind):
  values, dark, expected = ramp(700), ramp(70), 12
  files = {
    "SMaxSampleValue": tiff(values, extratags=[(341, 3, 1, 4095, True)]),
    "MaxSampleValue": tiff(values, extratags=[(281, 3, 1, 4095, True)]),
    "sBIT": png16(values[..., None], 0, chunk(b"sBIT", b"\x0c")),
    "PGM": b"P5 5 1 4095\n" + values.astype(">u2").tobytes(),
    "the type": tiff(values, extratags=[(341, 3, 1, 65535, True)]),  # the default, which states nothing
    "a wrong value": tiff(ramp(9000), extratags=[(341, 3, 1, 4095, True)]),
  }
  expected = {"the type": 10, "a wrong value": 14}.get(kind, 12)
  assert decided(tmp_path, files[kind], tiff(dark))[0] == expected


def test_the_decision_is_logged_and_applies_to_all_sets(tmp_path, caplog):
  where = folder(tmp_path, {f"{split}/{k}.tif": tiff(ramp(4095)) for split in ("train", "test") for k in range(3)})
  with caplog.at_level(logging.INFO, "jaxssl"):
    datasets = opened(where, limit=2)
  assert "data.bit_depth=12, decided on 2 of 2 training images" in caplog.text
  for dataset in (datasets.train, datasets.reference, datasets.test):
    assert dataset.source.dtype == np.uint16 and dataset.source.read(0).max() == 65535
  for source in open_splits(datasets.config, 0, whole=True).values():  # as `embed` reads them
    assert source.dtype == np.uint16 and source.read(0).max() == 65535
  caplog.clear()
  assert opened(where, bit_depth=14).config.bit_depth == 14 and "decided" not in caplog.text


def test_a_later_larger_value_names_the_field(tmp_path, monkeypatch):
  monkeypatch.setattr(value_range, "SAMPLED", 2)  # the first and the last
  where = folder(tmp_path, {"0.tif": tiff(ramp(4095)), "1.tif": tiff(ramp(5000)), "2.tif": tiff(ramp(100))})
  source = opened(where).train.source
  assert source.read(0).max() == 65535
  message = r"1.tif: values up to 5000, above data.bit_depth=12 \(0 to 4095\); start a new run with data.bit_depth=14"
  with pytest.raises(UnsupportedImage, match=message):
    source.read(1)
  assert not source.unreadable


def test_larger_values_in_the_test_set_are_found_when_it_is_opened(tmp_path):
  where = folder(tmp_path, {"train/0.tif": tiff(ramp(4095)), "test/0.tif": tiff(ramp(100)), "test/1.tif": tiff(ramp(5000))})
  message = r"test/1.tif: values up to 5000, above data.bit_depth=12 \(0 to 4095\); start a new run with data.bit_depth=14"
  with pytest.raises(UnsupportedImage, match=message):
    opened(where)
  assert opened(where, bit_depth=14).test
  folder(where, {"test/1.tif": tiff(ramp(4095))[:60]})  # damaged
  assert opened(where).test


def test_files_that_can_only_hold_8_bits_are_not_read(tmp_path, monkeypatch):
  where = folder(tmp_path, {f"{k}.{kind}": b"" for k in range(3) for kind in ("jpg", "JPEG", "gif", "webp", "bmp", "jfif")})
  monkeypatch.setattr(FolderSource, "encoded", lambda *_: pytest.fail("read"))
  assert opened(where).config.bit_depth == 8
  monkeypatch.undo()
  monkeypatch.setattr(Images, "stored", lambda *_: pytest.fail("decoded"))
  source = Images([flat(3), coded(np.zeros((4, 4), np.uint8), "JPEG")])
  source.decoder = opened(folder(tmp_path / "b", {"a.png": flat(3)}), bit_depth=8).train.source.decoder
  source.use(tree.replace(source.decoder, {"bit_depth": 0}))
  assert value_range.settled(DataConfig(), source).bit_depth == 8


def test_unsupported_images_stop_the_opening_and_damaged_ones_do_not(tmp_path):
  where = folder(tmp_path, {"0.tif": tiff(ramp(4095)), "1.tif": tiff(ramp(4095))[:60], "2.png": b"", "3.tif": tiff(ramp(4095))})
  datasets = opened(where)
  assert datasets.config.bit_depth == 12 and not datasets.unreadable
  folder(where, {"4.tif": tiff(ramp(1, np.float32))})
  with pytest.raises(UnsupportedImage, match="4.tif: floating-point pixels; scale them to integers, uint8 or uint16"):
    opened(where)


def test_arrays_and_sources_with_a_type(tmp_path):
  images = np.stack([ramp(1000), ramp(500)])
  datasets = open_datasets(DataConfig(source="array", channels=1, mean=(), std=()), 0, {"train": images})
  assert datasets.config.bit_depth == 10 and datasets.train.source.read(0).max() == round(1000 * 65535 / 1023)
  items = list(images)
  assert open_datasets(DataConfig(source="array", channels=1, mean=(), std=()), 0, {"train": items}).config.bit_depth == 10
  own = Images([flat(3)])
  assert open_datasets(DataConfig(source="array"), 0, {"train": own}).config.bit_depth == 8
  own.dtype = np.dtype(np.uint16)
  assert open_datasets(DataConfig(source="array"), 0, {"train": own}).config.bit_depth == 16
  with pytest.raises(UserError, match="data.bit_depth=8: train array is a source of 3 channels of uint16"):
    open_datasets(DataConfig(source="array", bit_depth=8), 0, {"train": own})


def test_a_run_keeps_its_decision(tmp_path):
  workdir, config = Workdir(tmp_path), Config(method={"name": "simclr"})
  workdir.write_config(tree.replace(config, {"data.bit_depth": 12}))
  assert json.loads(workdir.config.read_text())["data"]["bit_depth"] == 12
  assert ConfigChanges(workdir, config, False).config.data.bit_depth == 12
  with pytest.raises(UserError, match="data.bit_depth: 12 there, 14 here"):
    ConfigChanges(workdir, tree.replace(config, {"data.bit_depth": 14}), True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pages_that_are_not_read_are_a_warning(tmp_path, caplog, dtype):
  pages = np.stack([ramp(255, dtype)] * 5)
  decided(tmp_path / "1", tiff(pages), tiff(pages[:2]), tiff(pages[0]))
  warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
  assert warnings == ["2 of 3 images have up to 5 pages, of which the first is read"]
  caplog.clear()
  opened(folder(tmp_path / "2", {"1.tif": tiff(pages)}), channels=5)
  assert not [record for record in caplog.records if record.levelname == "WARNING"]
