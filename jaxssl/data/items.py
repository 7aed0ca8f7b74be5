"""Images as programs have them: arrays, PIL images, files and torch tensors, alone, with a label, or in a mapping."""

import contextlib
import os
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from jaxssl.core import UserError, paths
from jaxssl.data.image_io import ENDINGS, DecodeError, WrongChannels, decode, from_pil, match
from jaxssl.data.labels import find_labels, label_of, read_labels
from jaxssl.data.source import Source

PIL, ARRAY, TENSOR, FILE = "a PIL image", "an array", "a torch tensor", "the path or bytes of a file"
EXPECTED = (
  "an image: a PIL image, an array [h, w] or [h, w, c] of uint8 or uint16, a torch tensor [c, h, w], the path or bytes of a "
  "file; or (image, label), or a mapping with image and label"
)
_PROBED = 100  # items tried to find one that can be read
_LOCKS = tuple(threading.Lock() for _ in range(1024))  # PIL loads an image when it is first used, not thread-safely


class _Item(NamedTuple):
  """An item: its image, what that is (one of the constants above), and what the item is, in words."""

  image: Any
  kind: str
  text: str


class ItemSource(Source):
  """Images that are read by index from an object with a length and items, which several threads call at once.

  The first item that can be read decides what the items are; one of another kind raises UserError, one that raises an exception
  counts as unreadable. `labels`: as for `read_labels`; by default those that the object keeps beside its images, see
  `find_labels`. `known`: the classes of the training images, if these are test images.
  """

  def __init__(self, items: Any, labels: Any, name: str, channels: int, dtype: np.dtype, known: tuple[str, ...] = ()):
    self.name, self.channels, self.dtype, self._items, self._first = name, channels, np.dtype(dtype), items, None
    index, label = self._probe()
    if labels is None:
      self.labels, self.classes = find_labels(items, index, label, name, known)
    else:
      self.labels, self.classes = read_labels(labels, len(items), name, (), known)

  def _probe(self) -> tuple[int, Any]:
    """Lets the first readable item decide the kind; returns its index and label. Raises UserError if it is no image."""
    count, trouble = min(len(self), _PROBED), None
    for index in range(count):
      try:
        item = self._get(index)
      except DecodeError as error:
        trouble = trouble or error
        continue
      parsed = self._parse(item, index)
      with contextlib.suppress(DecodeError):  # reading logs it
        self._decode(parsed, index)
      self._first = parsed._replace(image=None)
      return index, label_of(item)
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
    """Returns [h, w, channels] of `dtype`. Raises DecodeError or WrongChannels, which name the image, and UserError."""
    return self._decode(self._parse(self._get(index), index), index)

  def _get(self, index: int) -> Any:
    try:
      return self._items[index]
    except Exception as error:  # the code of the user may raise anything for an unreadable image
      raise DecodeError(f"{self.describe(index)}: {type(error).__name__}: {error}") from error

  def _parse(self, item: Any, index: int) -> _Item:
    try:
      parsed = parse(item)
    except ValueError as error:
      raise UserError(f"{self.name}: item {index} is {error}; expected {EXPECTED}") from None
    if self._first and (parsed.kind, parsed.text) != (self._first.kind, self._first.text):
      raise UserError(f"{self.name}: item {index} is {parsed.text}, but the first is {self._first.text}; expected one kind")
    return parsed

  def _decode(self, item: _Item, index: int) -> np.ndarray:
    name = self.describe(index)
    if item.kind == FILE:
      name = f"{name} ({item.image})" if isinstance(item.image, str | os.PathLike) else name
      return decode(self._bytes(item, index), self.channels, name, self.dtype)
    try:
      pixels = _pil_pixels(item.image, name) if item.kind == PIL else _pixels(item, self.dtype, name)
    except ValueError as error:
      raise UserError(f"{self.name}: item {index} is {item.text}: {error}") from error
    try:
      return match(pixels, self.channels, self.dtype, name)
    except WrongChannels as error:
      if item.kind == PIL:
        raise
      axes = "[c, h, w]" if item.kind == TENSOR else "[h, w, c]"
      raise WrongChannels(f"{error} ({item.kind} {list(item.image.shape)} is read as {axes})") from None

  def _bytes(self, item: _Item, index: int) -> bytes:
    image: Any = item.image
    if isinstance(image, Mapping):
      image = image.get("path") if image["bytes"] is None else image["bytes"]
    if isinstance(image, bytes | bytearray | memoryview):
      return bytes(image)
    try:
      return paths.read(os.fspath(image))
    except Exception as error:  # a path of None, a name that is no path, a file that is gone
      raise DecodeError(f"{self.describe(index)}: {image}: {getattr(error, 'strerror', None) or error}") from error


def parse(item: Any) -> _Item:
  """Finds the image in an item. Raises ValueError, which says what the item is, if there is none."""
  if isinstance(item, Mapping) and not kind_of(item):
    key = next((key for key in ("image", "img") if key in item), None)
    if key is None or not kind_of(item[key]):
      raise ValueError(f"{_words(item)}" + ("" if key is None else f", and its {key} is {_words(item[key])}"))
    return _Item(item[key], kind_of(item[key]), f"a mapping with {kind_of(item[key])}")
  if isinstance(item, tuple | list) and item and kind_of(item[0]):
    if views := sum(map(_is_view, item[1:])):
      raise ValueError(f"{_words(item)} with {views + 1} images: return one, since views are cut from it")
    return _Item(item[0], kind_of(item[0]), f"a {'pair' if len(item) == 2 else 'tuple'} with {kind_of(item[0])}")
  if not kind_of(item):
    raise ValueError(_words(item))
  return _Item(item, kind_of(item), kind_of(item))


def kind_of(image: Any) -> str:
  """Returns what an image is, one of the constants above; empty if it is none. Does not import torch."""
  if isinstance(image, Image.Image):
    return PIL
  if any((base.__module__, base.__name__) == ("torch", "Tensor") for base in type(image).__mro__):
    return TENSOR
  is_file = isinstance(image, str | os.PathLike | bytes | bytearray | memoryview)
  if is_file or (isinstance(image, Mapping) and {"bytes"} <= set(image) <= {"bytes", "path"}):  # Hugging Face, undecoded
    return FILE
  return ARRAY if hasattr(image, "__array__") and not isinstance(image, np.generic) else ""


def _is_view(value: Any) -> bool:
  """Returns whether a part of an item is an image, rather than a label."""
  if isinstance(value, str | os.PathLike):
    return os.fspath(value).lower().endswith(ENDINGS)
  return kind_of(value) == PIL or (kind_of(value) in (ARRAY, TENSOR) and value.ndim > 1)


def _words(value: Any) -> str:
  """Describes an item."""
  if value is None:
    return "None"
  if isinstance(value, Mapping):
    return f"a mapping with the keys {', '.join(map(str, list(value)[:10]))}"
  if isinstance(value, tuple | list):
    kind = f"a {type(value).__name__} of {len(value)}"
    return f"{kind}, first {_words(value[0])}" if value and isinstance(value[0], tuple | list | Mapping) else kind
  name = type(value).__name__
  return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _pil_pixels(image: Image.Image, name: str) -> np.ndarray:
  """Returns [h, w, 1 or 3]. Raises DecodeError if its file is damaged, and ValueError for a mode that does not convert."""
  with _LOCKS[id(image) // 64 % len(_LOCKS)]:
    try:
      image.load()
    except Exception as error:  # PIL raises almost any type for a damaged file
      raise DecodeError(f"{name}: {error}") from error
    return from_pil(image)


def _pixels(item: _Item, dtype: np.dtype, name: str) -> np.ndarray:
  """Returns [h, w, c], uint8 or uint16, of an array or a tensor; floats of a tensor as `dtype`. Raises ValueError."""
  image, floats = item.image, False
  try:
    if item.kind == TENSOR:
      floats = image.is_floating_point()
      image = (image.detach().float() if floats else image.detach()).cpu().numpy()
    pixels = np.asarray(image)
  except Exception as error:  # an array may be read from a file only now
    raise DecodeError(f"{name}: {type(error).__name__}: {error}") from error
  pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
  expected = "[h, w] or [h, w, c] of uint8 or uint16"
  if item.kind == TENSOR:
    expected = "[h, w] or [c, h, w] of uint8, uint16, or floats from 0 to 1"
  if pixels.ndim not in (2, 3) or not pixels.size or not (floats or pixels.dtype in (np.uint8, np.uint16)):
    hint = ", e.g. (255 * x).round().astype('uint8')" if pixels.dtype.kind == "f" else ""
    raise ValueError(f"{pixels.dtype} {list(pixels.shape)}; expected {expected}{hint}")
  if floats:
    scaled = np.rint(pixels * np.float32(np.iinfo(dtype).max))
    if not (scaled.min() >= 0 and scaled.max() <= np.iinfo(dtype).max):  # also if there are NaN
      raise ValueError(f"floats from {pixels.min():.4g} to {pixels.max():.4g}; expected 0 to 1: leave out Normalize, or clamp")
    pixels = scaled.astype(dtype)
  return np.moveaxis(pixels, 0, -1) if item.kind == TENSOR and pixels.ndim == 3 else np.atleast_3d(pixels)
