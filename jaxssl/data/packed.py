"""Packed datasets: images in a few large files with an index, written by `jaxssl pack`; opened without listing or reading."""

import functools
import itertools
import os
import zlib
from bisect import bisect_right

import numpy as np

from jaxssl.config.schema import DataConfig
from jaxssl.core import UserError, path_of, paths, retry
from jaxssl.core.log import quiet_tensorflow
from jaxssl.data import image_list, packed_manifest, stage
from jaxssl.data.file_index import read_error
from jaxssl.data.file_kinds import DecodeError
from jaxssl.data.file_ranges import open_ranges
from jaxssl.data.image_io import Decoder
from jaxssl.data.packed_index import PackedIndex
from jaxssl.data.packed_manifest import PackedManifest, index_name, shard_name
from jaxssl.data.source import Source, decoder_of, register

_LARGEST = 2**30  # bytes of an image; a larger one is damage, and is not worth the memory


class PackedSource(Source):
  """One split. `root`: the dataset as the user names it; `folder`: where its shards are read; `index`: its local index."""

  def __init__(self, root: str, split: str, manifest: PackedManifest, folder: str, index: PackedIndex, decoder: Decoder):
    self.name, self.classes, self._split, self._index = root, manifest.classes, split, index
    about = manifest.splits[split]
    self._version = about.version
    self._shards = open_ranges([os.path.join(folder, shard_name(split, k)) for k in range(len(about.shards))])
    self._first = [0, *itertools.accumulate(shard.images for shard in about.shards)]  # image of each shard
    self.in_processes = not folder.startswith(paths.BUCKET)
    self.use(decoder)

  def __len__(self) -> int:
    return len(self._index)

  @functools.cached_property
  def labels(self) -> np.ndarray | None:
    """int32 [n], -1 if unknown; None without classes. Read from the index."""
    if not self.classes:
      return None
    labels = self._index.column("label").astype(np.int32)
    if labels.min(initial=-1) < -1 or labels.max(initial=-1) >= len(self.classes):
      raise UserError(f"data.path={self.name}: {index_name(self._split)} is damaged: a label is out of range; pack again")
    return labels

  def encoded(self, index: int) -> bytes:
    """Returns the bytes of the image. Raises DecodeError, which names image and shard, if they are damaged."""
    offset, length, crc = self._index.place(index)
    shard = bisect_right(self._first, index) - 1
    try:
      data = b"" if length > _LARGEST else self._shards.read(shard, offset, length)
    except (OSError, OverflowError, MemoryError) as error:
      raise read_error(error, f"{self.describe(index)}: {shard_name(self._split, shard)}") from error
    if len(data) != length or zlib.crc32(data) != crc:
      problem = f"damaged in {shard_name(self._split, shard)}: its length or its checksum differs"
      raise DecodeError(f"{self.describe(index)}: {problem}; copy that file again, or pack again")
    return data

  def describe(self, index: int) -> str:
    """Returns the name of the image behind that of the dataset, or "DIR train image 17" without names."""
    name = self.relative_name(index)
    return f"{self.name} {self._split} image {index}" if name is None else os.path.join(self.name, name)

  def relative_name(self, index: int) -> str | None:
    """Returns the name that the image had in its source, in NFC; None if it had none."""
    return self._index.name(int(index)) if self._index.has_names else None

  def names_at(self, rows: np.ndarray) -> bytes | None:
    """Returns the names of the images at `rows`, each followed by a zero byte; None without names."""
    return self._index.names_at(rows) if self._index.has_names else None

  def fingerprints(self, rows: np.ndarray) -> np.ndarray | None:
    """Returns the lengths in bytes, which are those of the files if these were kept; None without names."""
    return self._index.column("length")[rows].astype(np.int64) if self._index.has_names else None

  def version(self) -> str | None:
    """Returns what identifies images without names; None if they have names."""
    return None if self._index.has_names else self._version

  def known_jpeg_size(self, index: int) -> tuple[int, int] | None:
    """Returns height and width as `Decoder.jpeg_size` would, from the index."""
    height, width = int(self._index.column("height")[index]), int(self._index.column("width")[index])
    decoder = decoder_of(self)
    return (height, width) if 0 < height * width <= decoder.max_pixels and decoder.channels in (1, 3) else None

  def listed(self, path: str) -> np.ndarray:
    """Returns the positions of the images that a list names, ascending, int [m]; see `image_list`. Raises UserError."""
    if not self._index.has_names:
      raise UserError(f"data.list_path={path}: the images of {self.name} have no names; leave it empty")
    names = self._index.names_at(np.arange(len(self))).decode(errors="surrogateescape").split("\0")[:-1]
    return image_list.select(self, path, names, {name.rpartition("/")[0] for name in names})


@register("packed", ("path", "test_path", "list_path", "stage"))
def open_packed(config: DataConfig) -> tuple[PackedSource, PackedSource | None]:
  """Opens what `jaxssl pack` wrote in `data.path`, and the test split there or in `data.test_path`: train and test (or None).

  Copies the shards to `data.stage` first, if that is set. Raises UserError if files are missing, damaged or do not fit.
  """
  quiet_tensorflow()  # which also sets how much of a file in a bucket is read at least, before one is opened
  splits = _splits(config.path, "data.path", config)
  train, test = splits["train"], splits.get("test")
  if config.test_path:
    splits = _splits(config.test_path, "data.test_path", config)
    test = splits.get("test") or splits["train"]
    _relabel(test, train.classes)
  return train, test


def _splits(path: str, field: str, config: DataConfig) -> dict[str, PackedSource]:
  root = paths.absolute(path)
  manifest = packed_manifest.read(root, field)
  folder = stage.staged(config.stage, root, manifest) if config.stage else root
  if paths.is_local(path_of(folder)):
    _check_sizes(folder, manifest, f"{field}={path}")
  result = {}
  for split, about in manifest.splits.items():
    try:
      path_of_index = _local_index(folder, split, manifest)
      index = retry.call(f"reading {path_of_index}", PackedIndex, path_of_index, about.images)
    except (OSError, ValueError) as error:
      problem = f"{index_name(split)} cannot be read: {getattr(error, 'strerror', None) or error}"
      raise UserError(f"{field}={path}: {problem}; copy it again, or pack again") from error
    result[split] = PackedSource(root, split, manifest, folder, index, Decoder.of(config))
  return result


def _local_index(folder: str, split: str, manifest: PackedManifest) -> str:
  """Returns the path of an index; one in a bucket is copied to the cache folder once."""
  if not folder.startswith(paths.BUCKET):
    return os.path.join(folder, index_name(split))
  about = manifest.splits[split]
  file = (index_name(split), about.index_bytes, about.index_sha256)
  return str(stage.cached(folder, file, manifest.sha256))


def _check_sizes(folder: str, manifest: PackedManifest, where: str) -> None:
  """Raises UserError for a file that is missing or has another size than when it was written."""
  for name, size, _ in manifest.files():
    file = os.path.join(folder, name)
    try:
      found = retry.call(f"looking for {file}", os.stat, file).st_size
    except OSError as error:
      raise UserError(f"{where}: {name}: {error.strerror}; copy it again, or pack again") from error
    if found != size:
      raise UserError(f"{where}: {name} has {found} bytes instead of {size}; copy it again, or pack again")


def _relabel(test: PackedSource, classes: tuple[str, ...]) -> None:
  """Numbers the classes of another dataset as those of the training images. Raises UserError for a class they lack."""
  if not classes or test.labels is None:
    test.classes, test.labels = (), None
    return
  number = {name: k for k, name in enumerate(classes)}
  used = np.unique(test.labels[test.labels >= 0]).tolist()
  if unknown := [test.classes[k] for k in used if test.classes[k] not in number]:
    problem = f"the training split lacks the classes {', '.join(unknown[:5])}"
    raise UserError(f"data.test_path={test.name}: {problem}; rename or remove them")
  table = np.array([*(number.get(name, -1) for name in test.classes), -1], np.int32)
  test.classes, test.labels = classes, table[test.labels]
