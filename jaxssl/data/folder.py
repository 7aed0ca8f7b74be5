"""Finds the training and test splits and the class folders in a folder or a zip."""

import functools
import os
from collections.abc import Sequence

import numpy as np

from jaxssl.config.schema import DataConfig
from jaxssl.core import LOG, UserError, paths
from jaxssl.data.file_index import Listing, list_images
from jaxssl.data.image_io import DecodeError, dtype_of
from jaxssl.data.source import Source, register

_TESTS = ("test", "val", "validation")


class FolderSource(Source):
  """Images of a listing at `positions`. `at`: length of the split's folder in their names."""

  def __init__(self, listing: Listing, positions: Sequence[int], at: int, config: DataConfig):
    self.name, self.channels, self.dtype = listing.root, config.channels, dtype_of(config.bit_depth)
    self._listing, self._positions, self._at = listing, positions, at

  def __len__(self) -> int:
    return len(self._positions)

  def encoded(self, index: int) -> bytes:
    """Returns the bytes of the file. Raises DecodeError, which names the file."""
    try:
      return self._listing.read(self._positions[index])
    except (OSError, ValueError, MemoryError) as error:
      raise DecodeError(f"{self.describe(index)}: {error}") from error

  def describe(self, index: int) -> str:
    """Returns the full name of the file; within a zip, behind the name of the zip."""
    return self._listing.where(self._positions[index])

  def relative_name(self, index: int) -> str:
    """Returns the name of the file relative to the folder or zip, with /."""
    return self._listing.names[self._positions[index]]

  def sizes(self) -> np.ndarray:
    """Returns the sizes of all files in bytes, int64 [n], -1 if unknown."""
    return np.array([self._listing.size(k) for k in self._positions], np.int64)

  @functools.cached_property
  def class_folders(self) -> list[str]:
    """The class folder of each image. Unless every image is exactly one folder deep, this is empty, which is logged."""
    names = [self._listing.names[k] for k in self._positions]
    exception = next((name for name in names if name.count("/", self._at) != 1), None)
    if exception is None:
      return [name[self._at : name.rindex("/")] for name in names]
    LOG.info("%s: no labels, since not every image is exactly one folder deep (e.g. %s)", self.name, exception)
    return []

  def label(self, classes: tuple[str, ...], field: str) -> None:
    """Labels the images, if possible, by the class folder of each. Raises UserError for one that `classes` lacks."""
    if not classes or not self.class_folders:
      return
    if unknown := sorted(set(self.class_folders) - set(classes)):
      lacking = ", ".join(unknown[:5])
      raise UserError(f"{field}={self.name}: the training split lacks the classes {lacking}; rename or remove them")
    number = {name: k for k, name in enumerate(classes)}
    self.classes, self.labels = classes, np.array([number[folder] for folder in self.class_folders], np.int32)

  def listed(self, path: str) -> np.ndarray:
    """Reads a text file of names, one per line, relative to the root or the split's folder. Returns positions, int [m].

    Positions are ascending. Empty lines are skipped; repeated names count once. Raises UserError for a name without an image.
    """
    try:
      lines = paths.read(path).decode(errors="surrogateescape").replace("\r\n", "\n").split("\n")
    except (OSError, ValueError) as error:  # ValueError: not a path
      raise UserError(f"data.list_path={path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    names = [self._listing.names[k] for k in self._positions]
    place = {name[self._at :]: k for k, name in enumerate(names)} | {name: k for k, name in enumerate(names)}
    wanted = [line if line in place else line.strip().removeprefix("./") for line in lines if line.strip()]
    if unknown := [name for name in wanted if name not in place]:
      count = f"{len(unknown)} of {len(wanted)} lines"
      raise UserError(f"data.list_path={path}: {count} name no training image of {self.name}, e.g. {unknown[0]}")
    if not wanted:
      raise UserError(f"data.list_path={path}: the list is empty; expected one path per line, or no list for all images")
    return np.unique([place[name] for name in wanted])


@register("folder", ("path", "test_path", "list_path"))
def open_folder(config: DataConfig) -> tuple[FolderSource, FolderSource | None]:
  """Opens `data.path`, and the test split there or in `data.test_path`. Returns train and test (None without one).

  Raises UserError if there is nothing to train on, or if the test split has a class that the training split lacks.
  """
  splits = _splits(config.path, "data.path", config)
  train, test, field = splits["train"], splits["test"], "data.path"
  if not len(train):
    raise UserError(f"data.path={config.path}: has a test split only; use it as data.test_path")
  if left_out := len(splits[""]) - len(train) - len(test):
    LOG.info("data.path=%s: ignored %d images that are in neither split", config.path, left_out)
  classes = tuple(sorted(set(train.class_folders)))
  if len(classes) == 1:
    LOG.info("data.path=%s: no labels, since there are fewer than two class folders", config.path)
    classes = ()
  train.label(classes, field)
  if config.test_path:
    field = "data.test_path"
    splits = _splits(config.test_path, field, config)
    test = splits["test"] if len(splits["test"]) else splits[""]
  if not len(test):
    return train, None
  test.label(classes, field)
  return train, test


def open_whole(config: DataConfig) -> dict[str, FolderSource]:
  """Opens all images under `data.path` by split: "train", "test", and the names of other folders. Classes may differ.

  Raises UserError if there is no image.
  """
  splits = _splits(config.path, "data.path", config)
  splits = {name: split for name, split in splits.items() if len(split) and name}
  classes = tuple(sorted(set().union(*(split.class_folders for split in splits.values()))))
  for split in splits.values():
    split.label(classes if len(classes) > 1 else (), "data.path")
  return splits


def _splits(path: str, field: str, config: DataConfig) -> dict[str, FolderSource]:
  """Opens, without labels, "train" and "test" (either may be empty), the folders in neither, and all images as "".

  Folders that contain everything are skipped. The first of test/, val/ and validation/ that exists is the test split. train/
  is the training split if it is alone or beside a test split; beside other folders it is a class, as in CIFAR-100.
  """
  listing = list_images(path, field)
  names = listing.names
  at = os.path.commonprefix([names[0], names[-1]]).rfind("/") + 1  # the prefix of all names, since they are sorted
  tops = [name[at:].split("/", 1)[0].lower() if "/" in name[at:] else "" for name in names]
  present = set(tops) - {""}
  test = next((top for top in _TESTS if top in present), "test")
  has_train = "train" in present and (test in present or present == {"train"})
  positions: dict[str, list[int]] = {"train": [], "test": [], "": list(range(len(names)))}
  starts = {"": at, "train": at + len("train/") * has_train, "test": at + len(f"{test}/")}
  for k, top in enumerate(tops):
    if top == test:
      split = "test"
    elif top == "train" if has_train else top not in _TESTS:
      split = "train"
    else:
      split = top or "other"
    positions.setdefault(split, []).append(k)
    starts.setdefault(split, at + len(top) + bool(top))
  return {split: FolderSource(listing, rows, starts[split], config) for split, rows in positions.items()}
