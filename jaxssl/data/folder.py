"""Images in a folder or a zip: which are the training and the test split, and which folders are classes."""

import logging
import os
from collections.abc import Sequence

import numpy as np

from jaxssl.config.schema import DataConfig
from jaxssl.core import paths
from jaxssl.core.errors import UserError
from jaxssl.data.file_index import Listing, list_images
from jaxssl.data.image_io import DecodeError, decode, dtype_of

_TESTS = ("test", "val", "validation")
_log = logging.getLogger("jaxssl")


class FolderSource:
  """The images of a listing at `positions`, whose names begin past the split's folder at `at`; `labels` int32 [n] or None."""

  def __init__(
    self,
    listing: Listing,
    positions: Sequence[int],
    at: int,
    config: DataConfig,
    classes: tuple[str, ...] = (),
    labels: np.ndarray | None = None,
  ):
    self.name, self.classes, self.labels = listing.root, classes, labels
    self.channels, self.dtype = config.channels, dtype_of(config.bit_depth)
    self._listing, self._positions, self._at = listing, positions, at

  def __len__(self) -> int:
    return len(self._positions)

  def read(self, index: int) -> np.ndarray:
    """Gives [h, w, channels] of `dtype`. Raises BadImage naming the file."""
    return decode(self.encoded(index), self.channels, self.describe(index), self.dtype)

  def encoded(self, index: int) -> bytes:
    """The file's bytes. Raises BadImage naming the file."""
    try:
      return self._listing.read(self._positions[index])
    except (OSError, ValueError, MemoryError) as error:
      raise DecodeError(f"{self.describe(index)}: {error}") from error

  def describe(self, index: int) -> str:
    """Full name of the file; inside a zip, the zip's name comes first."""
    return self._listing.where(self._positions[index])

  def listed(self, path: str) -> np.ndarray:
    """Reads a text file of names, one a line, relative to the whole or to the split's folder: positions, int [m] ascending.

    Empty lines are skipped; an image named twice counts once. Raises UserError for a name that no image has.
    """
    try:
      lines = paths.read(path).decode(errors="surrogateescape").replace("\r\n", "\n").split("\n")
    except (OSError, ValueError) as error:  # ValueError: no path at all
      raise UserError(f"data.list_path={path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    names = [self._listing.names[k] for k in self._positions]
    place = {name[self._at :]: k for k, name in enumerate(names)} | {name: k for k, name in enumerate(names)}
    wanted = [line if line in place else line.strip().removeprefix("./") for line in lines if line.strip()]
    unknown = [name for name in wanted if name not in place]
    if unknown:
      count = f"{len(unknown)} of {len(wanted)} lines"
      raise UserError(f"data.list_path={path}: {count} name no training image of {self.name}, first: {unknown[0]}")
    if not wanted:
      raise UserError(f"data.list_path={path} names no image; write one path a line, or leave the field empty for all")
    return np.unique([place[name] for name in wanted])


def open_folder(config: DataConfig) -> tuple[FolderSource, FolderSource | None]:
  """Opens `data.path` and the test split there or in `data.test_path`: train, test (None without one).

  Raises UserError where there is nothing to train on, or where the test split has a class that training lacks.
  """
  listing = list_images(config.path, "data.path")
  train, train_at, test, test_at = _splits(listing.names)
  if not train:
    raise UserError(f"data.path={config.path} holds images to test on only: name it in data.test_path")
  left_out = len(listing.names) - len(train) - len(test)
  if left_out:
    _log.info("data.path=%s: %d images in neither split are left out", config.path, left_out)
  folders = _class_folders(listing, train, train_at)
  classes = tuple(sorted(set(folders or ())))
  if folders is not None and len(classes) < 2:
    _log.info("data.path=%s: no labels, since there are not at least two class folders", config.path)
    classes = ()
  train_source = _source(listing, train, train_at, folders, classes, config, "data.path")
  if config.test_path:
    listing = list_images(config.test_path, "data.test_path")
    everything, at, test, test_at = _splits(listing.names)
    test, test_at = (test, test_at) if test else (everything, at)
  if not test:
    return train_source, None
  field = "data.test_path" if config.test_path else "data.path"
  folders = _class_folders(listing, test, test_at) if classes else None
  return train_source, _source(listing, test, test_at, folders, classes, config, field)


def open_whole(config: DataConfig) -> dict[str, FolderSource]:
  """Opens all that lies under `data.path`, by split: "train", "test", and by its folder what is in neither. Classes may differ.

  Raises UserError where there is no image.
  """
  listing = list_images(config.path, "data.path")
  train, train_at, test, test_at = _splits(listing.names)
  splits = {"train": (train, train_at), "test": (test, test_at)}
  at, tops = _tops(listing.names)
  for k in sorted(set(range(len(tops))).difference(train, test)):
    splits.setdefault(tops[k] or "other", ([], at + len(tops[k]) + bool(tops[k])))[0].append(k)
  splits = {name: split for name, split in splits.items() if split[0]}
  folders = {name: _class_folders(listing, *split) for name, split in splits.items()}
  classes = tuple(sorted({folder for of in folders.values() for folder in of or ()}))
  classes = classes if len(classes) > 1 else ()
  return {name: _source(listing, *split, folders[name], classes, config, "data.path") for name, split in splits.items()}


def _source(
  listing: Listing,
  positions: list[int],
  at: int,
  folders: list[str] | None,
  classes: tuple[str, ...],
  config: DataConfig,
  field: str,
) -> FolderSource:
  """Numbers the class folders. Raises UserError for one that `classes` lacks."""
  if not classes or folders is None:
    return FolderSource(listing, positions, at, config)
  unknown = sorted(set(folders) - set(classes))
  if unknown:
    raise UserError(f"{field}={listing.root} has classes that training lacks: {', '.join(unknown[:5])}; rename or remove them")
  number = {name: k for k, name in enumerate(classes)}
  return FolderSource(listing, positions, at, config, classes, np.array([number[f] for f in folders], np.int32))


def _splits(names: list[str]) -> tuple[list[int], int, list[int], int]:
  """Positions of training images, where their names begin past the split's folder, and the same for the test split.

  Folders that hold everything are looked through. test/, val/ or validation/ (the first there is) is the test split. train/
  is the training split if it stands beside a test split or alone; beside other folders it is a class, as in CIFAR-100.
  """
  at, tops = _tops(names)
  present = set(tops) - {""}
  test = next((top for top in _TESTS if top in present), None)
  if "train" in present and (test or present == {"train"}):
    train, train_at = [k for k, top in enumerate(tops) if top == "train"], at + len("train/")
  else:
    train, train_at = [k for k, top in enumerate(tops) if top not in _TESTS], at
  return train, train_at, [k for k, top in enumerate(tops) if top == test], at + len(f"{test}/")


def _tops(names: list[str]) -> tuple[int, list[str]]:
  """Where names begin past the folders that hold everything, and the next folder of each in small letters, "" for none."""
  common = os.path.commonprefix([names[0], names[-1]])  # of all, since they are sorted
  at = common.rfind("/") + 1
  return at, [name[at:].split("/", 1)[0].lower() if "/" in name[at:] else "" for name in names]


def _class_folders(listing: Listing, positions: list[int], at: int) -> list[str] | None:
  """Gives each image's class folder; None, and a line in the log, where not every image lies exactly one folder deep."""
  parts = [listing.names[k][at:].split("/") for k in positions]
  odd = next((k for k, part in zip(positions, parts, strict=True) if len(part) != 2), None)
  if odd is None:
    return [part[0] for part in parts]
  _log.info("%s: no labels, since not every image lies exactly one folder deep (%s)", listing.root, listing.names[odd])
  return None
