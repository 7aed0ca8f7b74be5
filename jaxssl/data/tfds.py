"""Image datasets of TensorFlow Datasets (TFDS), by name."""

import functools
import logging
import os
import re
from typing import Any

import numpy as np

from jaxssl.config.schema import DataConfig
from jaxssl.core import LOG, UserError, heartbeat, nearest_name, paths, retry
from jaxssl.core.log import bar_shown
from jaxssl.data.file_kinds import DecodeError
from jaxssl.data.image_io import Decoder
from jaxssl.data.input_pipeline import tensorflow
from jaxssl.data.source import Source, register

TRIES = 3  # of each download
FOLDER = "data.path={}: a folder or a file, but data.source=tfds expects the name of a dataset; set data.source=folder"


class TfdsSource(Source):
  """One split: `data[i]` is {"image": bytes of the file, "label": int, ...}."""

  def __init__(self, data: Any, split: str, config: DataConfig, classes: tuple[str, ...]):
    self.name, self.classes, self._data, self._split = f"{config.path} {split}", classes, data, split
    self.use(Decoder.of(config))

  @functools.cached_property
  def labels(self) -> np.ndarray | None:
    """int32 [n]; None without classes. The first use reads the whole split."""
    if not self.classes:
      return None
    LOG.info("reading the labels of %s", self.name)
    return np.array([int(self._data[k]["label"]) for k in range(len(self))], np.int32)

  def __len__(self) -> int:
    return len(self._data)

  def version(self) -> str:
    """Returns name, config and version of the dataset, its split, and the images in each of its files."""
    info, parts = self._data.dataset_info, ""
    if self._split in info.splits:
      split = info.splits[self._split]
      parts = f", {split.num_bytes} bytes in files of {list(split.shard_lengths)} images"
    return f"{info.full_name} {self._split}{parts}"

  def encoded(self, index: int) -> bytes:
    """Returns the bytes of the image's file. Raises DecodeError, which names the image."""
    try:
      return retry.call(f"reading {self.describe(index)}", self._data.__getitem__, index)["image"]
    except (OSError, RuntimeError, ValueError, IndexError) as error:
      raise DecodeError(f"{self.describe(index)}: {error}") from error


@register("tfds", ("path",))
def open_tfds(config: DataConfig) -> tuple[TfdsSource, TfdsSource | None]:
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

  def load(split: str) -> Any:
    return tfds.data_source(config.path, split=split, decoders={"image": tfds.decode.SkipDecoding()})

  def source(data: Any, split: str) -> TfdsSource:
    label = features["label"] if "label" in features else None
    classes = tuple(label.names) if isinstance(label, tfds.features.ClassLabel) else ()
    return TfdsSource(data, split, config, classes)

  try:
    with heartbeat(f"opening {config.path}, which is downloaded first unless it is on the disk"):
      data = load("train")
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
  features = data.dataset_info.features
  if "image" not in features:
    raise UserError(f"data.path={config.path}: has no image feature; its features: {', '.join(features)}")
  train = source(data, "train")
  for split in ("test", "validation"):
    try:
      data = load(split)
    except ValueError:  # no such split
      continue
    if not train.classes or int(data[0]["label"]) >= 0:  # ImageNet's test labels are withheld: all -1
      return train, source(data, split)
  return train, None
