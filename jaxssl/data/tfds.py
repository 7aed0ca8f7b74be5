"""Named image data sets through tensorflow_datasets, by position."""

import functools
import logging
import re
from typing import Any

import numpy as np

from jaxssl.config.schema import DataConfig
from jaxssl.core.errors import UserError, nearest_name
from jaxssl.data.image_io import DecodeError, decode, dtype_of
from jaxssl.data.input_pipeline import tensorflow

_log = logging.getLogger("jaxssl")


class TfdsSource:
  """One split: `data[i]` is {"image": the file's bytes, "label": a number, ...}."""

  def __init__(self, data: Any, name: str, config: DataConfig, classes: tuple[str, ...]):
    self.name, self.classes, self._data = name, classes, data
    self.channels, self.dtype = config.channels, dtype_of(config.bit_depth)

  @property
  def labels(self) -> np.ndarray | None:
    """int32 [n]; None without classes. The first use reads the whole split."""
    return self._labels if self.classes else None

  @functools.cached_property
  def _labels(self) -> np.ndarray:
    _log.info("reading the labels of %s", self.name)
    return np.array([int(self._data[k]["label"]) for k in range(len(self))], np.int32)

  def __len__(self) -> int:
    return len(self._data)

  def read(self, index: int) -> np.ndarray:
    """Gives [h, w, channels] of `dtype`. Raises BadImage."""
    return decode(self.encoded(index), self.channels, self.describe(index), self.dtype)

  def encoded(self, index: int) -> bytes:
    """The image's file as stored. Raises BadImage."""
    try:
      return self._data[index]["image"]
    except (OSError, RuntimeError, ValueError, IndexError) as error:
      raise DecodeError(f"{self.describe(index)}: {error}") from error

  def describe(self, index: int) -> str:
    """Names the image in a message."""
    return f"{self.name} image {index}"


def open_tfds(config: DataConfig) -> tuple[TfdsSource, TfdsSource | None]:
  """Opens the set named `data.path`, downloading it at first use: train, and test or else validation (None without them).

  Raises UserError for a name that is not known, and for a set that cannot be prepared or has no images.
  """
  if re.match(r"[^/:]*:[^/]*[^/\d.*]", config.path):  # what is no version; its code would be downloaded and run
    raise UserError(f"data.path={config.path} names a set of others than tensorflow_datasets; allowed: NAME[/CONFIG][:VERSION]")
  tensorflow()  # tensorflow_datasets would import it too, but not quietly
  import tensorflow_datasets as tfds

  def load(split: str) -> Any:
    return tfds.data_source(config.path, split=split, decoders={"image": tfds.decode.SkipDecoding()})

  def source(data: Any, split: str) -> TfdsSource:
    label = features["label"] if "label" in features else None
    classes = tuple(label.names) if isinstance(label, tfds.features.ClassLabel) else ()
    return TfdsSource(data, f"{config.path} {split}", config, classes)

  try:
    data = load("train")
  except tfds.core.DatasetNotFoundError as error:
    close = nearest_name(config.path, tfds.list_builders(with_community_datasets=False))
    raise UserError(f"data.path={config.path} is no data set that tensorflow_datasets knows; nearest: {close}") from error
  except Exception as error:  # downloads, licenses, disks: whatever stops it is for the user to mend
    raise UserError(f"data.path={config.path} cannot be prepared: {' '.join(str(error).split())}") from error
  features = data.dataset_info.features
  if "image" not in features:
    raise UserError(f"data.path={config.path} has no image; its features: {', '.join(features)}")
  train = source(data, "train")
  for split in ("test", "validation"):
    try:
      data = load(split)
    except ValueError:  # there is no such split
      continue
    if not train.classes or int(data[0]["label"]) >= 0:  # ImageNet's test labels are withheld: all -1
      return train, source(data, split)
  return train, None
