"""Opens the training and the test split of a folder or a zip, with class folders as labels."""

import functools
import unicodedata
from collections.abc import Sequence

import numpy as np

from jaxssl.config.schema import DataConfig
from jaxssl.core import LOG, UserError, paths
from jaxssl.data import image_list, layout, layout_table
from jaxssl.data.file_index import FileIndex, read_error
from jaxssl.data.image_io import Decoder
from jaxssl.data.listing import list_images
from jaxssl.data.source import Source, register


class FolderSource(Source):
  """The images of an index at `positions`, int [n]. `folders`: the label of each folder of the index, relative to the split."""

  def __init__(self, index: FileIndex, positions: np.ndarray, folders: Sequence[str], config: DataConfig):
    self.name = index.root
    self.use(Decoder.of(config))
    self._index, self._positions, self._folders = index, positions, folders
    self.in_processes = not index.root.startswith(paths.BUCKET)

  def __len__(self) -> int:
    return len(self._positions)

  def encoded(self, index: int) -> bytes:
    """Returns the bytes of the file. Raises DecodeError or UnsupportedImage, which name the file, or Unavailable."""
    try:
      return self._index.read(self._positions[index])
    except (OSError, ValueError, MemoryError) as error:
      raise read_error(error, self.describe(index)) from error

  def describe(self, index: int) -> str:
    """Returns the full name of the file; within a zip, behind the name of the zip."""
    return self._index.where(self._positions[index])

  def relative_name(self, index: int) -> str:
    """Returns the name of the file relative to the folder or the zip, with "/" between names."""
    return self._index.name(self._positions[index])

  def fingerprints(self, rows: np.ndarray) -> np.ndarray:
    """Returns the sizes of the files in bytes, int64 [m]; -1 if unknown."""
    return self._index.sizes(self._positions[rows])

  @functools.cached_property
  def found_classes(self) -> tuple[str, ...]:
    """The class folders, sorted. Unless every image is exactly one folder deep, there are none, which is logged."""
    used = np.unique(self._index.folder[self._positions])
    wrong = [k for k in used if not self._folders[k] or "/" in self._folders[k]]
    if wrong:
      example = self._index.name(int(np.argmax(self._index.folder == wrong[0])))
      LOG.info("%s: no labels, since not every image is exactly one folder deep (e.g. %s)", self.name, example)
      return ()
    _warn_of_similar(self.name, sorted({_as_stored(self._index.folders[k], self._folders[int(k)]) for k in used}))
    return tuple(sorted({self._folders[int(k)] for k in used}))

  def label(self, classes: tuple[str, ...], field: str) -> None:
    """Labels the images, if possible, by the class folder of each. Raises UserError for one that `classes` lacks."""
    if not classes or not self.found_classes:
      return
    number = {name: k for k, name in enumerate(classes)}
    if unknown := [name for name in self.found_classes if name not in number]:
      similar = {name.casefold(): name for name in classes}
      shown = (f"{name} (it has {similar[name.casefold()]})" if name.casefold() in similar else name for name in unknown[:5])
      raise UserError(f"{field}={self.name}: the training split lacks the classes {', '.join(shown)}; rename or remove them")
    of_folder = np.array([number.get(folder, -1) for folder in self._folders], np.int32)
    self.classes, self.labels = classes, of_folder[self._index.folder[self._positions]]

  def listed(self, path: str) -> np.ndarray:
    """Returns the positions of the images that a list names, ascending, int [m]; see `image_list`. Raises UserError."""
    return image_list.select(self, path, map(self.relative_name, range(len(self))), self._index.folders)


def _as_stored(folder: str, label: str) -> str:
  """Returns the part of a folder's name that is its label in NFC."""
  return next(part for part in reversed(folder.split("/")) if unicodedata.normalize("NFC", part) == label)


def _warn_of_similar(name: str, folders: Sequence[str]) -> None:
  """Logs folders that differ in Unicode normalization or in case only: on other systems they are one folder."""
  seen: dict[str, str] = {}
  for folder in folders:
    composed = unicodedata.normalize("NFC", folder)
    if (other := seen.setdefault(composed.casefold(), folder)) != folder:
      alike = composed == unicodedata.normalize("NFC", other)
      about = "Unicode normalization only: they are one class" if alike else "case only: they are two classes"
      LOG.warning("%s: the class folders %s and %s differ in %s", name, ascii(other), ascii(folder), about)


@register("folder", ("path", "test_path", "list_path"))
def open_folder(config: DataConfig) -> tuple[FolderSource, FolderSource | None]:
  """Opens `data.path`, and the test split there or in `data.test_path`. Returns train and test (None without one).

  Logs a table of the folders and their roles. Raises UserError if it is not certain what to train on, if there is nothing to
  train on, or if the test split has a class that the training split lacks.
  """
  splits = _splits(config.path, "data.path", config, strict=True)
  train, test, field = splits["train"], splits.get("test"), "data.path"
  classes = train.found_classes
  if len(classes) == 1:
    LOG.info("data.path=%s: no labels, since there are fewer than two class folders", config.path)
    classes = ()
  train.label(classes, field)
  if config.test_path:
    field = "data.test_path"
    splits = _splits(config.test_path, field, config)
    test = splits.get("test") or splits["train"]
  if test:
    test.label(classes, field)
  return train, test


def open_whole(config: DataConfig) -> dict[str, FolderSource]:
  """Opens all images under `data.path` by split: "train", "test", and the names of other folders. Classes may differ.

  Raises UserError if there is no image.
  """
  splits = _splits(config.path, "data.path", config)
  classes = tuple(sorted(set().union(*(split.found_classes for split in splits.values()))))
  for split in splits.values():
    split.label(classes if len(classes) > 1 else (), "data.path")
  return splits


def _splits(path: str, field: str, config: DataConfig, strict: bool = False) -> dict[str, FolderSource]:
  """Opens the images by role, without labels. Raises UserError if `strict` and the layout has a problem."""
  index = list_images(path, field)
  found = layout.layout_of(index.folders)
  for line in layout_table.table(found.folders, np.bincount(index.folder, minlength=len(index.folders)).tolist()):
    LOG.info("  %s", line)
  if strict and found.problem:
    raise UserError(f"{field}={path}: {found.problem}")
  labels, rows = [folder.label for folder in found.folders], {"train": list[int](), "test": list[int]()}
  for k, folder in enumerate(found.folders):
    other = f"{folder.top}, left out" if folder.top in rows else folder.top or "no folder"
    rows.setdefault(folder.role if folder.role in rows else other, []).append(k)
  splits = {name: np.flatnonzero(np.isin(index.folder, own)) for name, own in rows.items() if own}
  return {name: FolderSource(index, positions, labels, config) for name, positions in splits.items()}
