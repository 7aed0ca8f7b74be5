"""The door to the pictures: what `data` in the config names, as a training and a test source."""

import logging
import pathlib
from collections.abc import Mapping

import numpy as np

from jaxssl.config import DataConfig
from jaxssl.data.arrays import ArraySource, mnist5k
from jaxssl.data.base import Source, Subset
from jaxssl.data.folder import open_folder
from jaxssl.data.guard import Guard
from jaxssl.data.plan import generator
from jaxssl.data.tfds import open_tfds
from jaxssl.types import UserError

Arrays = Mapping[str, tuple[np.ndarray, np.ndarray | None]]  # "train", "test" -> (images, labels)
_FIELDS = {"folder": ("path", "test_path"), "tfds": ("path",), "mnist5k": (), "array": ()}  # that each source reads
_log = logging.getLogger("jaxssl")


def open_sources(
  config: DataConfig,
  seed: int,
  arrays: Arrays | None = None,
  workdir: str | pathlib.Path | None = None,
) -> tuple[Guard, Guard | None]:
  """Opens the training and the test pictures; the latter is None where there is no test split.

  `arrays`: for data.source=array, "train" and maybe "test" -> (images uint8 [n, h, w] or [n, h, w, c], labels int [n] or
  None). `data.limit` keeps the first pictures of a shuffle by `seed`. Bad pictures are noted in `workdir`.
  Raises UserError for whatever in `config` does not fit.
  """
  for field in ("path", "test_path"):
    value = getattr(config, field)
    if value and field not in _FIELDS[config.source]:
      readers = " or ".join(source for source, fields in _FIELDS.items() if field in fields)
      raise UserError(
        f"data.{field}={value} is not read by data.source={config.source}; use data.source={readers} or leave it empty"
      )
  if "path" in _FIELDS[config.source] and not config.path:
    kind = "a folder or a zip" if config.source == "folder" else "the name of a data set"
    raise UserError(f"data.path is empty: data.source={config.source} needs {kind} there")
  train, test = _open(config, arrays)
  if not 0 <= config.limit <= len(train):
    raise UserError(f"data.limit={config.limit} must lie between 0 (all) and the number of training pictures, {len(train)}")
  if config.limit:
    train = Subset(train, generator(seed, -1).permutation(len(train))[: config.limit])
  for split, source in (("train", train), ("test", test)):
    if source is not None:
      _log.info("%s: %d pictures, %d classes, from %s", split, len(source), len(source.classes), source.name)
  return Guard(train, workdir), None if test is None else Guard(test, workdir)


def _open(config: DataConfig, arrays: Arrays | None) -> tuple[Source, Source | None]:
  if config.source == "folder":
    return open_folder(config)
  if config.source == "tfds":
    return open_tfds(config)
  if config.source == "mnist5k":
    return mnist5k(config.channels)
  if not arrays or "train" not in arrays:
    raise UserError('data.source=array needs arrays={"train": (images, labels)}, and maybe "test", from the calling program')
  given = {split: ArraySource(*pair, f"{split} array", config.channels) for split, pair in arrays.items()}
  return given["train"], given.get("test")
