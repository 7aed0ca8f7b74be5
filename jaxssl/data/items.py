"""Images as programs have them: PIL images, arrays, files and torch tensors behind an index."""

import functools
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxssl.core import LOG, Unavailable, UserError, paths, retry
from jaxssl.core.storage_errors import Kind, kind_of
from jaxssl.data import item_pixels
from jaxssl.data.file_index import read_error, read_file, size_of
from jaxssl.data.file_kinds import DecodeError, Stored, UnsupportedImage
from jaxssl.data.image_io import Decoder
from jaxssl.data.item_kinds import EXPECTED, FILE, Item, parse, path_in
from jaxssl.data.labels import find_labels, label_of, read_labels
from jaxssl.data.source import Source, decoder_of

_PROBED = 100  # items tried to find one that can be read


class ItemSource(Source):
  """Images that are read by index from an object with a length and items, which several threads call at once.

  The first item that does not raise an exception decides what the items are. One of another kind raises UnsupportedImage; one
  that raises an exception counts as unreadable. `labels`: as for `read_labels`; by default those that the object keeps beside
  its images, see `find_labels`, unless `labeled` is False. `known`: the classes of the training images, for test images.
  """

  def __init__(self, items: Any, labels: Any, name: str, decoder: Decoder, known: tuple[str, ...] = (), labeled: bool = True):
    self.use(decoder)
    self.name, self._items, self._first = name, items, None
    index, label = self._probe()
    if not labeled:
      return
    if labels is None:
      self.labels, self.classes = find_labels(items, index, label, name, known)
    else:
      self.labels, self.classes = read_labels(labels, len(items), name, (), known)

  def _probe(self) -> tuple[int, Any]:
    """Lets the first item decide what they are; returns its index and label. Raises UserError if none of many can be read."""
    count, first, trouble = min(len(self), _PROBED), None, None
    for index in range(count):
      try:
        item = self._get(index)
        parsed = self._parse(item, index)
        if first is None:
          self._first, first = parsed._replace(image=None), (index, label_of(item))
        self._stored(parsed, index)
      except DecodeError as error:  # reading logs it
        trouble = trouble or error
        continue
      if item_pixels.loses_bits(parsed, decoder_of(self)):
        LOG.info("%s: floats from 0 to 1 are read with 8 bits; --config.data.bit_depth=16 keeps 16", self.name)
      return first
    if trouble:
      raise UserError(f"{self.name}: none of the first {count} items can be read, e.g. {trouble}")
    return 0, None

  def __len__(self) -> int:
    return len(self._items)

  def encoded(self, index: int) -> bytes | None:
    """Returns the bytes of an item that is a file, else None. Raises DecodeError, which names the item."""
    if self._first is None or self._first.kind != FILE:
      return None
    return self._bytes(self._parse(self._get(index), index), index)

  def read(self, index: int) -> np.ndarray:
    """Returns [h, w, channels] of `dtype`. Raises DecodeError or UnsupportedImage, which name the image."""
    item = self._parse(self._get(index), index)
    name, decoder = self._name(item, index), decoder_of(self)
    if item.kind == FILE:
      return decoder.decode(self._bytes(item, index), name)
    return item_pixels.converted(item, decoder, name)

  def stored(self, index: int) -> Stored:
    """Returns the image as it is. Raises as `read` does."""
    return self._stored(self._parse(self._get(index), index), index)

  def describe(self, index: int) -> str:
    """Returns the number of the image, and its path if it is in a list of paths."""
    path = self._path(index)
    return super().describe(index) + (f" ({path})" if path else "")

  def relative_name(self, index: int) -> str | None:
    """Returns the path of an image relative to the folder that all are in; None unless the items are a list of paths."""
    return None if self._folder is None else paths.absolute(self._path(index)).removeprefix(self._folder)

  def fingerprints(self, rows: np.ndarray) -> np.ndarray | None:
    """Returns the sizes of the files of a list of paths in bytes, -1 if unknown; else None."""
    if self._folder is None:
      return None
    files = [paths.absolute(self._path(k)) for k in rows.tolist()]
    return np.array([-1 if file.startswith(paths.BUCKET) else size_of(file) for file in files], np.int64)

  @functools.cached_property
  def _folder(self) -> str | None:
    """The folder that all images of a list of paths are in, with / at its end; None if an item is not a path in memory."""
    folders = set()
    for k in range(len(self)):
      if not (path := self._path(k)):
        return None
      folders.add(os.path.dirname(paths.absolute(path)) + "/")
    common = os.path.commonprefix(list(folders))
    return common[: common.rfind("/") + 1]

  def _path(self, index: int) -> str:
    """Returns the path that an item in memory is; empty if it is none or would have to be computed."""
    if not isinstance(self._items, list | tuple | np.ndarray) or self._first is None or self._first.kind != FILE:
      return ""
    if not 0 <= index < len(self):
      return ""
    try:
      return path_in(parse(self._items[index]))
    except ValueError:  # of another kind, which reading it reports
      return ""

  def _get(self, index: int) -> Any:
    try:
      return retry.call(f"reading {super().describe(index)}", self._items.__getitem__, index)
    except Unavailable:
      raise
    except Exception as error:  # the code of the user may raise anything for an unreadable image
      if kind_of(error) is Kind.REFUSED:
        raise read_error(error, super().describe(index)) from error
      raise DecodeError(f"{super().describe(index)}: {type(error).__name__}: {error}") from error

  def _parse(self, item: Any, index: int) -> Item:
    try:
      parsed = parse(item)
    except ValueError as error:
      raise UnsupportedImage(f"{self.name}: item {index} is {error}; expected {EXPECTED}") from None
    if self._first and (parsed.kind, parsed.text) != (self._first.kind, self._first.text):
      problem = f"item {index} is {parsed.text}, but the first is {self._first.text}"
      raise UnsupportedImage(f"{self.name}: {problem}; expected one kind")
    return parsed

  def _stored(self, item: Item, index: int) -> Stored:
    if item.kind == FILE:
      return decoder_of(self).stored(self._bytes(item, index), self._name(item, index))
    return item_pixels.stored(item, decoder_of(self), self._name(item, index))

  def _name(self, item: Item, index: int) -> str:
    """Returns what `describe` does, with the path also if the item was computed."""
    path = path_in(item)
    return super().describe(index) + (f" ({path})" if path else "")

  def _bytes(self, item: Item, index: int) -> bytes:
    if path := path_in(item):
      try:
        return read_file(path if path.startswith(paths.BUCKET) else os.path.expanduser(path))
      except (OSError, ValueError, MemoryError) as error:
        raise read_error(error, self._name(item, index)) from error
    data = item.image["bytes"] if isinstance(item.image, Mapping) else item.image
    return bytes(data or b"")
