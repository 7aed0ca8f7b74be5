"""Image datasets of TensorFlow Datasets (TFDS), by name."""

import functools
import hashlib
import logging
import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from jaxssl.config.schema import DataConfig
from jaxssl.core import LOG, UserError, heartbeat, image_progress, nearest_name, paths, retry, storage_errors
from jaxssl.core.log import bar_shown
from jaxssl.data import record_files
from jaxssl.data.file_index import read_error
from jaxssl.data.file_kinds import DecodeError
from jaxssl.data.image_io import Decoder
from jaxssl.data.input_pipeline import tensorflow
from jaxssl.data.source import Source, register
from jaxssl.data.tfds_records import TESTS, class_names, open_records, prepared_as_tfrecord, version_of

TRIES = 3  # of each download
_READS = 32  # at the same time, of images whose labels are wanted
FOLDER = "data.path={}: a folder or a file, but data.source=tfds expects the name of a dataset; set data.source=folder"


class TfdsSource(Source):
  """One split: `data[i]` is {"image": bytes of the file, "label": int, ...}. A pickled copy or a fork loads it again."""

  def __init__(self, data: Any, split: str, config: DataConfig, classes: tuple[str, ...]):
    self.name, self.classes, self._path, self._split = f"{config.path} {split}", classes, config.path, split
    self._data, self._process, self._count = data, os.getpid(), len(data)
    self.use(Decoder.of(config))

  def __getstate__(self) -> dict[str, Any]:
    return {**vars(self), "_data": None, "_process": 0}

  def _loaded(self) -> Any:
    if self._process != os.getpid():
      self._data, self._process = _load(self._path, self._split), os.getpid()
    return self._data

  @functools.cached_property
  def labels(self) -> np.ndarray | None:
    """int32 [n]; None without classes. The first use of a dataset reads the whole split; then they are in the cache folder."""
    if not self.classes:
      return None
    name = f"labels-{hashlib.sha256(self.version().encode()).hexdigest()[:32]}"
    return np.array(record_files.cached(name, self._read_labels), np.int32)

  def _read_labels(self) -> list[int]:
    LOG.info("reading the labels of %s, once", self.name)
    data = self._loaded()
    with image_progress(len(self)) as progress, ThreadPoolExecutor(_READS) as pool:
      labels = []
      for label in pool.map(lambda k: int(data[k]["label"]), range(len(self))):
        labels.append(label)
        progress.update()
      return labels

  def __len__(self) -> int:
    return self._count

  def version(self) -> str:
    """Returns name, config and version of the dataset, its split, and the images in each of its files."""
    return version_of(self._loaded().dataset_info, self._split)

  def encoded(self, index: int) -> bytes:
    """Returns the bytes of the image's file. Raises DecodeError, which names the image."""
    try:
      return retry.call(f"reading {self.describe(index)}", self._loaded().__getitem__, index)["image"]
    except (OSError, RuntimeError, ValueError, IndexError) as error:
      if storage_errors.kind_of(error) is storage_errors.Kind.REFUSED:
        raise read_error(error, self.describe(index)) from error
      raise DecodeError(f"{self.describe(index)}: {error}") from error


@register("tfds", ("path",))
def open_tfds(config: DataConfig) -> tuple[Source, Source | None]:
  """Opens the dataset `data.path`, downloaded at first use: train, and test or else validation (None without either).

  Raises UserError for an unknown name, and for a dataset that cannot be prepared or has no images.
  """
  if re.match(r"[^/:]*:[^/]*[^/\d.*]", config.path):  # not a version: TFDS would download and run the code of that namespace
    raise UserError(f"data.path={config.path}: names a dataset outside of TFDS; expected NAME[/CONFIG][:VERSION]")
  if config.path.startswith(("/", ".", "~", paths.BUCKET)) or config.path.endswith(".zip"):
    raise UserError(FOLDER.format(config.path))
  tensorflow()  # TFDS would import it too, but not quietly
  import tensorflow_datasets as tfds
  from tensorflow_datasets.core.download import downloader

  downloader.MAX_RETRIES = TRIES - 1  # instead of 10, between which it waits for minutes
  for name in ("absl", "urllib3"):  # they log every try; what fails is raised here
    logging.getLogger(name).setLevel(logging.CRITICAL)
  if not bar_shown():
    tfds.disable_progress_bar()

  try:
    with heartbeat(f"opening {config.path}, which is downloaded first unless it is on the disk"):
      info = prepared_as_tfrecord(tfds, config.path)
      data = None if info else _load(config.path, "train")
      features = info.features if info else data.dataset_info.features  # type: ignore[union-attr]
  except tfds.core.DatasetNotFoundError as error:
    if os.path.exists(config.path):
      raise UserError(FOLDER.format(config.path)) from error
    close = nearest_name(config.path, tfds.list_builders(with_community_datasets=False))
    raise UserError(f"data.path={config.path}: not a TFDS dataset; nearest: {close}") from error
  except Exception as error:  # downloads, licenses, disks: the user has to resolve it
    reason = " ".join(str(error).split())
    if reason.startswith("Parsing builder name string"):  # followed by a page about such names
      reason = "not a name of a dataset; expected NAME[/CONFIG][:VERSION], or data.source=folder for a folder or a zip"
    if unreachable := re.search(r"HTTPS?ConnectionPool\(host='([^']*)'", reason):
      folder = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
      reason = f"no connection to {unreachable[1]} in {TRIES} tries; check the network, or copy the dataset to {folder}"
    raise UserError(f"data.path={config.path}: cannot be prepared: {reason}") from error
  if "image" not in features:
    raise UserError(f"data.path={config.path}: has no image feature; its features: {', '.join(features)}")
  if info:
    return open_records(info, config)
  train = TfdsSource(data, "train", config, class_names(features))
  for split in TESTS:
    try:
      data = _load(config.path, split)
    except ValueError:  # no such split
      continue
    if not train.classes or int(data[0]["label"]) >= 0:  # ImageNet's test labels are withheld: all -1
      return train, TfdsSource(data, split, config, train.classes)
  return train, None


def _load(path: str, split: str) -> Any:
  """Returns a split with images as bytes of files."""
  tensorflow()
  import tensorflow_datasets as tfds

  return tfds.data_source(path, split=split, decoders={"image": tfds.decode.SkipDecoding()})
