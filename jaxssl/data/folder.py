"""The images of a folder or a zip, with class folders as labels. Worker processes import this, so it must not import JAX."""

import functools
import unicodedata
from collections.abc import Sequence

import numpy as np

from jaxssl.config.schema import DataConfig
from jaxssl.core import LOG, UserError, paths
from jaxssl.data import image_list
from jaxssl.data.file_index import FileIndex, read_error
from jaxssl.data.image_io import Decoder
from jaxssl.data.source import Source


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
    """Returns the full name of the file; within a zip, after the name of the zip."""
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
