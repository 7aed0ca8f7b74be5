"""Images in NumPy files: arrays [n, h, w] or [n, h, w, c] of integers in .npy or .npz, with labels beside them."""

import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxssl.config.schema import DataConfig
from jaxssl.core import UserError, path_of, paths, retry
from jaxssl.data.arrays import ArraySource
from jaxssl.data.folder_names import HELD_OUT, part_of
from jaxssl.data.image_io import Decoder
from jaxssl.data.source import register

Arrays = Mapping[str, np.ndarray]


class NumpySource(ArraySource):
  """Images of the array `key` in a file or folder, which is opened by path again in a pickled copy."""

  def __init__(self, path: str, key: str, images: np.ndarray, labels: Any, decoder: Decoder, known: tuple[str, ...] = ()):
    super().__init__(images, labels, paths.absolute(path), decoder, known)
    self._key = key

  def __getstate__(self) -> dict[str, Any]:
    return {name: value for name, value in vars(self).items() if name != "_images"}

  def __setstate__(self, state: dict[str, Any]) -> None:
    vars(self).update(state)
    images = retry.call(f"reading {self.name}", _arrays, self.name)[self._key]
    images = images.astype(images.dtype.newbyteorder("="), copy=False)
    self._images = images[..., None] if images.ndim == 3 else images

  def describe(self, index: int) -> str:
    """Returns the file, the array and the number of the image."""
    return f"{self.name} {self._key} image {index}"


@register("numpy", ("path", "test_path"))
def open_numpy(config: DataConfig) -> tuple[NumpySource, NumpySource | None]:
  """Opens the arrays of `data.path`, a .npy, a .npz or a folder of .npy: train, and test or validation (None without either).

  Arrays of three or four axes are images, those of one axis labels; their names state the split. Raises UserError.
  """
  decoder, arrays = Decoder.of(config), _loaded(config.path, "data.path")
  train = _source(arrays, config.path, "data.path", "train", decoder)
  if config.test_path:
    others = _loaded(config.test_path, "data.test_path")
    return train, _source(others, config.test_path, "data.test_path", "", decoder, train.classes)
  for split in HELD_OUT:
    if any(_is_images(array) and _split(key) == split for key, array in arrays.items()):
      return train, _source(arrays, config.path, "data.path", split, decoder, train.classes)
  return train, None


def _source(arrays: Arrays, path: str, field: str, split: str, decoder: Decoder, known: tuple[str, ...] = ()) -> NumpySource:
  """Opens the images of a split; "": held-out ones, or the only ones."""
  images = _of_split({key: array for key, array in arrays.items() if _is_images(array)}, split)
  if len(images) != 1:
    found = ", ".join(f"{key} {list(array.shape)}" for key, array in arrays.items())
    expected = f"expected one array of images{f' for {split}' if split else ''}, [n, h, w] or [n, h, w, c] of integers"
    raise UserError(f"{field}={path}: {expected}; found {found}")
  key, array = next(iter(images.items()))
  flat = {name: other for name, other in arrays.items() if other.size == len(array) and not _is_images(other)}
  labels = {name: other for name, other in flat.items() if _split(name) == _split(key)}
  if len(labels) > 1:
    raise UserError(f"{field}={path}: {', '.join(labels)} may all be labels; keep one of them")
  values = next((np.reshape(other, -1) for other in labels.values()), None)
  return NumpySource(path, key, array, values, decoder, known)


def _of_split(arrays: Arrays, split: str) -> Arrays:
  """Returns the arrays of a split by their names, or else those that name none."""
  kinds = (split, "") if split else (*HELD_OUT, "", "train")
  found = ({key: array for key, array in arrays.items() if _split(key) == kind} for kind in kinds)
  return next(filter(None, found), {})


def _split(key: str) -> str:
  return part_of(key).kind


def _is_images(array: np.ndarray) -> bool:
  return array.ndim in (3, 4) and array.dtype.kind in "ui"


def _loaded(path: str, field: str) -> Arrays:
  """Returns the arrays of a file or a folder by name. Raises UserError."""
  try:
    return retry.call(f"reading {path}", _arrays, path)
  except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
    raise UserError(f"{field}={path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _arrays(path: str) -> Arrays:
  """Returns the arrays by name; those of .npy files stay on the disk. Raises OSError, ValueError or others if damaged."""
  root = path_of(paths.absolute(path))
  if not paths.is_local(root):
    raise ValueError("NumPy files are read from a local disk only; copy them")
  arrays: dict[str, np.ndarray] = {}
  for file in sorted(root.glob("*.np[yz]")) if root.is_dir() else [root]:
    loaded = np.load(file, mmap_mode="r", allow_pickle=False)
    arrays |= {file.stem: loaded} if isinstance(loaded, np.ndarray) else {key: loaded[key] for key in loaded.files}
  if not arrays:
    raise ValueError("it holds no array")
  return arrays
