"""Datasets of TensorFlow Datasets (TFDS) that are stored as TFRecord files only, which TFDS itself reads sequentially."""

import os
from typing import Any

from jaxssl.config.schema import DataConfig
from jaxssl.data import tfrecord
from jaxssl.data.image_io import Decoder
from jaxssl.data.record_source import RecordSource

TESTS = ("test", "validation")  # splits to test on, the first one that has labels


class TfdsRecords(RecordSource):
  """One split. `info`: the `DatasetInfo` of TFDS; `known`: the classes of the training images, for test images."""

  def __init__(self, info: Any, split: str, config: DataConfig, known: tuple[str, ...]):
    files = [os.fspath(file) for file in info.splits[split].filepaths]
    scans = [{**scan, "name": [None] * len(scan["name"])} for scan in tfrecord.scans_of(files)]
    names = class_names(info.features)
    super().__init__(f"{config.path} {split}", files, scans, Decoder.of(config), names, known)
    self._version = version_of(info, split)
    if not names:
      self.labels, self.classes = None, ()

  def version(self) -> str:
    """Returns the same as of the dataset in another format."""
    return self._version


def open_records(info: Any, config: DataConfig) -> tuple[TfdsRecords, TfdsRecords | None]:
  """Opens the training images, and those to test on (None without any)."""
  train = TfdsRecords(info, "train", config, ())
  for split in TESTS:
    if split in info.splits:
      test = TfdsRecords(info, split, config, train.classes)
      if not train.classes or test.labels is not None:
        return train, test
  return train, None


def prepared_as_tfrecord(tfds: Any, path: str) -> Any:
  """Returns the `DatasetInfo` of a dataset that is on the disk as TFRecord files only; else None."""
  try:
    builder = tfds.builder(path)
    formats = {kind.value for kind in builder.info.available_file_formats()} if builder.data_path.exists() else set()
  except Exception:  # loading it raises the error that is shown
    return None
  return builder.info if formats == {"tfrecord"} else None


def class_names(features: Any) -> tuple[str, ...]:
  """Returns the names of the classes; none without labels."""
  label = features["label"] if "label" in features else None
  return tuple(label.names) if label is not None and type(label).__name__ == "ClassLabel" else ()


def version_of(info: Any, split: str) -> str:
  """Returns name, config and version of a dataset, its split, and the images in each of its files."""
  parts = ""
  if split in info.splits:
    parts = f", {info.splits[split].num_bytes} bytes in files of {list(info.splits[split].shard_lengths)} images"
  return f"{info.full_name} {split}{parts}"
