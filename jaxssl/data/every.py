"""Every picture once, to be kept by name: no other takes the place of one that cannot be read."""

import logging
import os

import numpy as np

from jaxssl.config import DataConfig
from jaxssl.data.base import Source, Subset
from jaxssl.data.folder import open_whole
from jaxssl.data.pictures import BadPicture, centre
from jaxssl.data.sources import open_sources
from jaxssl.types import UserError

_log = logging.getLogger("jaxssl")


def open_every(config: DataConfig, seed: int, whole: bool) -> dict[str, Source]:
  """Opens the pictures of `config` by split; `whole`: all that is found in a folder, also outside its training and test split.

  Raises UserError for whatever in `config` does not fit.
  """
  if config.source == "array":
    raise UserError("data.source=array are arrays of the program that trained: name other pictures with --data.path")
  chosen = config.test_path or config.list_path or config.limit or config.imbalance.kind != "none"
  if whole and config.source == "folder" and config.path and not chosen:
    return dict(open_whole(config))
  opened = open_sources(config, seed)
  return {"train": opened.train.source} | ({} if opened.test is None else {"test": opened.test.source})


def name_of(source: Source, index: int) -> str:
  """Name of a picture, relative to the folder or zip it lies in."""
  return source.describe(index).removeprefix(source.name + os.sep)


class Readable(Subset):
  """Some pictures of a source. In place of one that cannot be read stands a black one; it is named in the log, and in `bad`.

  `store_size`: side to which pictures are cut before all else, as for a store on the devices; 0: they are left as they are.
  """

  def __init__(self, source: Source, indices: np.ndarray, store_size: int):
    super().__init__(source, indices)
    self.store_size, self.bad = store_size, set[int]()

  def read(self, index: int) -> np.ndarray:
    """Gives [h, w, channels] of `dtype`."""
    try:
      picture = super().read(index)
    except BadPicture as error:
      self.bad.add(index)
      _log.warning("cannot read %s; it is left out", error)
      return np.zeros((1, 1, self.channels), self.dtype)
    return centre(picture, self.store_size, self.store_size) if self.store_size else picture
