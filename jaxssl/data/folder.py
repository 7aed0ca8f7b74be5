"""Images in a folder or a zip: finds the training and the test split, and the class folders."""

import logging
import os
from collections.abc import Sequence

import numpy as np

from jaxssl.config.schema import DataConfig
from jaxssl.core import paths
from jaxssl.core.errors import UserError
from jaxssl.data.file_index import Listing, list_images
from jaxssl.data.image_io import DecodeError, decode, dtype_of
from jaxssl.data.source import register

_TESTS = ("test", "val", "validation")
_log = logging.getLogger("jaxssl")


class FolderSource:
  """Images of a listing at `positions`. `at`: length of the split's folder in their names; `labels`: int32 [n] or None."""

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
    """Returns [h, w, channels] of `dtype`. Raises DecodeError, which names the file."""
    return decode(self.encoded(index), self.channels, self.describe(index), self.dtype)

  def encoded(self, index: int) -> bytes:
    """Returns the bytes of the file. Raises DecodeError, which names the file."""
    try:
      return self._listing.read(self._positions[index])
    except (OSError, ValueError, MemoryError) as error:
      raise DecodeError(f"{self.describe(index)}: {error}") from error

  def describe(self, index: int) -> str:
    """Returns the full name of the file; within a zip, behind the name of the zip."""
    return self._listing.where(self._positions[index])

  def listed(self, path: str) -> np.ndarray:
    """Reads a text file of names, one per line, relative to the root or the split's folder: positions, int [m] ascending.

    Empty lines are skipped; repeated names count once. Raises UserError for a name without an image.
    """
    try:
      lines = paths.read(path).decode(errors="surrogateescape").replace("\r\n", "\n").split("\n")
    except (OSError, ValueError) as error:  # ValueError: not a path
      raise UserError(f"data.list_path={path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    names = [self._listing.names[k] for k in self._positions]
    place = {name[self._at :]: k for k, name in enumerate(names)} | {name: k for k, name in enumerate(names)}
    wanted = [line if line in place else line.strip().removeprefix("./") for line in lines if line.strip()]
    unknown = [name for name in wanted if name not in place]
    if unknown:
      count = f"{len(unknown)} of {len(wanted)} lines"
      raise UserError(f"data.list_path={path}: {count} name no training image of {self.name}, e.g. {unknown[0]}")
    if not wanted:
      raise UserError(f"data.list_path={path}: the list is empty; expected one path per line, or no list for all images")
    return np.unique([place[name] for name in wanted])


@register("folder", ("path", "test_path", "list_path"))
def open_folder(config: DataConfig) -> tuple[FolderSource, FolderSource | None]:
  """Opens `data.path`, and the test split there or in `data.test_path`: train, test (None without one).

  Raises UserError if there is nothing to train on, or if the test split has a class that the training split lacks.
  """
  listing = list_images(config.path, "data.path")
  train, train_at, test, test_at = _splits(listing.names)
  if not train:
    raise UserError(f"data.path={config.path}: has a test split only; use it as data.test_path")
  left_out = len(listing.names) - len(train) - len(test)
  if left_out:
    _log.info("data.path=%s: ignored %d images that are in neither split", config.path, left_out)
  folders = _class_folders(listing, train, train_at)
  classes = tuple(sorted(set(folders or ())))
  if folders is not None and len(classes) < 2:
    _log.info("data.path=%s: no labels, since there are fewer than two class folders", config.path)
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
  """Opens all images under `data.path` by split: "train", "test", and the names of other folders. Classes may differ.

  Raises UserError if there is no image.
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
  """Makes a source with numbered classes. Raises UserError for a class folder that `classes` lacks."""
  if not classes or folders is None:
    return FolderSource(listing, positions, at, config)
  unknown = sorted(set(folders) - set(classes))
  if unknown:
    raise UserError(
      f"{field}={listing.root}: the training split lacks the classes {', '.join(unknown[:5])}; rename or remove them"
    )
  number = {name: k for k, name in enumerate(classes)}
  return FolderSource(listing, positions, at, config, classes, np.array([number[f] for f in folders], np.int32))


def _splits(names: list[str]) -> tuple[list[int], int, list[int], int]:
  """Returns positions of the training images, where their names begin behind the split's folder, and both for the test split.

  Folders that contain everything are skipped. The first of test/, val/ and validation/ that exists is the test split. train/
  is the training split if it is alone or beside a test split; beside other folders it is a class, as in CIFAR-100.
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
  """Returns where names begin behind the folders that contain everything, and each name's next folder in lower case, or ""."""
  common = os.path.commonprefix([names[0], names[-1]])  # of all names, since they are sorted
  at = common.rfind("/") + 1
  return at, [name[at:].split("/", 1)[0].lower() if "/" in name[at:] else "" for name in names]


def _class_folders(listing: Listing, positions: list[int], at: int) -> list[str] | None:
  """Returns the class folder of each image; None, which is logged, unless every image is exactly one folder deep."""
  parts = [listing.names[k][at:].split("/") for k in positions]
  odd = next((k for k, part in zip(positions, parts, strict=True) if len(part) != 2), None)
  if odd is None:
    return [part[0] for part in parts]
  _log.info("%s: no labels, since not every image is exactly one folder deep (e.g. %s)", listing.root, listing.names[odd])
  return None
