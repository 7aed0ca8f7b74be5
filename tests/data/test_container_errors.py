"""Errors of storage while files that hold many images are opened and read: they are repeated."""

import errno
import os
import pathlib
import pickle

import numpy as np
import pytest
import tensorflow as tf

from jaxssl.config.schema import DataConfig
from jaxssl.core import Unavailable
from jaxssl.data import numpy_files, packed, packed_manifest, parquet, tfrecord, webdataset
from jaxssl.data.datasets import open_datasets
from jaxssl.data.file_kinds import UnsupportedImage
from jaxssl.data.tfds import TfdsSource
from jaxssl.pack.pack import pack
from tests.data import fixtures
from tests.faults import Clock, Faults
from tests.pack import sources
from tests.pack.sources import FILES


@pytest.fixture(autouse=True)
def clock(monkeypatch):
  return Clock(monkeypatch)


def test_a_tfds_image_is_read_again(clock):
  class Split(list):
    fails = 2

    def __getitem__(self, index):
      if self.fails:
        self.fails -= 1
        raise tf.errors.UnavailableError(None, None, "503")
      return {"image": fixtures.flat(7)}

  source = TfdsSource(Split([0]), "train", DataConfig(source="tfds", path="mnist"), ())
  assert source.encoded(0) == fixtures.flat(7) and len(clock.waits) == 2


@pytest.mark.parametrize("kind", ["webdataset", "tfrecord"])
def test_files_are_scanned_again(kind, tmp_path, monkeypatch, clock):
  scanner = {"webdataset": webdataset, "tfrecord": tfrecord}[kind]
  data = {"webdataset": sources.as_webdataset, "tfrecord": sources.as_tfrecord}[kind](tmp_path, FILES)["data"]
  monkeypatch.setattr(scanner, "_scan", faults := Faults(scanner._scan, 1))
  config = DataConfig(source=kind, path=data)
  # Two threads, one for each file, wait by the same clock.
  with pytest.raises(Unavailable, match=rf"reading {data}.*: storage does not respond within \d+ min"):
    open_datasets(config, 0)
  faults.share = 0.5
  assert len(open_datasets(config, 0).train) == 12 and faults.count


def test_a_parquet_file_is_opened_again(tmp_path, monkeypatch, clock):
  data = sources.as_parquet(tmp_path, FILES)["data"]
  opened_files, read, names = [], parquet.pq.ParquetFile.read_row_group, []
  monkeypatch.setattr(parquet, "_open", Faults(parquet._open, 0.5, only=lambda path: opened_files.append(path) is None))
  source = open_datasets(DataConfig(source="parquet", path=data), 0).train.source.source

  def stale_once(file, *args, **words):
    names.append(file)
    if len(names) == 1 or file is names[0]:
      raise OSError(errno.ESTALE, "Stale file handle")
    return read(file, *args, **words)

  monkeypatch.setattr(parquet.pq.ParquetFile, "read_row_group", stale_once)
  assert [source.encoded(k) for k in range(12)] == list(FILES.values()) and clock.waits


def test_arrays_are_opened_again_also_by_a_process_that_reads(tmp_path, monkeypatch, clock):
  images = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4)
  np.save(tmp_path / "images.npy", images)
  config = DataConfig(source="numpy", path=f"{tmp_path}/images.npy", channels=1, mean=(), std=())
  limit = 1000
  monkeypatch.setattr(numpy_files.np, "load", faults := Faults(np.load, 1, only=lambda *_: faults.count < limit))
  with pytest.raises(Unavailable, match=rf"reading {config.path}: storage does not respond"):
    open_datasets(config, 0)
  limit, faults.count = 2, 0
  source = open_datasets(config, 0).train.source.source
  faults.count = 0
  copy = pickle.loads(pickle.dumps(source))
  assert np.array_equal(copy.read(1)[..., 0], images[1]) and faults.count == 2


def test_a_packed_dataset_is_opened_again(tmp_path, monkeypatch, clock):
  pack(fixtures.folder(tmp_path / "set", FILES), tmp_path / "packed", shorter_side=0, num_shards=4, num_workers=1)
  config = DataConfig(source="packed", path=str(tmp_path / "packed"))
  stat = Faults(os.stat, 0.4, only=lambda file: str(file).endswith(".shard"))
  index, read = Faults(packed.PackedIndex, 0.9), Faults(pathlib.Path.read_bytes, 0.9)
  monkeypatch.setattr(packed.os, "stat", stat)
  monkeypatch.setattr(packed, "PackedIndex", index)
  monkeypatch.setattr(pathlib.Path, "read_bytes", lambda path: read(path))
  source = open_datasets(config, 0).train.source
  assert source.encoded(11) == FILES["dog/5.jpg"] and stat.count and index.count and read.count
  read.share = 1
  for path in ("packed", "set"):
    with pytest.raises(Unavailable, match=f"reading {tmp_path}/{path}/manifest.json: storage does not respond"):
      packed_manifest.is_packed(str(tmp_path / path))


def test_a_tfds_image_that_may_not_be_read_stops_the_run():
  class Refused(list):
    def __getitem__(self, index):
      raise PermissionError(errno.EACCES, "Permission denied")

  source = TfdsSource(Refused([0]), "train", DataConfig(source="tfds", path="mnist"), ())
  with pytest.raises(UnsupportedImage, match="mnist train image 0: Permission denied; make it readable for this user"):
    source.encoded(0)
