"""The protocol of image sources, their registry, and subsets."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np

from jaxssl.config.schema import DataConfig
from jaxssl.core import Registry
from jaxssl.data.image_io import decode


class Source(Protocol):
  """Random access to images at positions 0..len - 1, from any thread. Labels are for evaluation only."""

  name: str
  channels: int  # of every image
  dtype: np.dtype  # of every image: uint8 or uint16
  classes: tuple[str, ...] = ()  # names; empty without labels
  labels: np.ndarray | None = None  # int32 [n], -1 if unknown

  def __len__(self) -> int: ...

  def encoded(self, index: int) -> bytes | None:
    """Returns the bytes of the image's file, or None without a file. Raises DecodeError, which names the image."""
    return None

  def read(self, index: int) -> np.ndarray:
    """Returns [h, w, channels] of `dtype`. Raises DecodeError or WrongChannels, which name the image."""
    return decode(self.encoded(index) or b"", self.channels, self.describe(index), self.dtype)

  def describe(self, index: int) -> str:
    """Returns the file name, or "NAME image 17", for messages."""
    return f"{self.name} image {index}"


class Items(Protocol):
  """An object with a length and items, each an image, see `jaxssl.data.items`: a list, a torch Dataset, a Hugging Face one."""

  def __len__(self) -> int: ...

  def __getitem__(self, index: Any, /) -> Any: ...


# A source; an array [n, h, w] or [n, h, w, c], uint8 or uint16; items; or one of the latter two with labels, numbers or names.
DataInput = np.ndarray | Items | Source | tuple[np.ndarray | Items, Any]
Opener = Callable[[DataConfig], tuple[DataInput, DataInput | None]]  # opens the training images and the test images, if any

O = TypeVar("O", bound=Opener)
SOURCES: Registry[Opener] = Registry("data.source")
FIELDS: dict[str, tuple[str, ...]] = {}  # source -> those of data.path, data.test_path and data.list_path that it reads


def register(name: str, fields: tuple[str, ...] = ()) -> Callable[[O], O]:
  """Returns a decorator that registers an opener as data.source=`name`.

  `fields`: which of "path" (then required), "test_path" and "list_path" it reads; the others must be empty in the config.
  """

  def add(opener: O) -> O:
    SOURCES.register(name)(opener)
    FIELDS[name] = fields
    return opener

  return add


class Subset(Source):
  """The images of `source` at `indices`, int [m], in that order."""

  def __init__(self, source: Source, indices: np.ndarray):
    self.source, self.indices = source, indices
    self.name, self.channels, self.dtype, self.classes = source.name, source.channels, source.dtype, source.classes

  @property
  def labels(self) -> np.ndarray | None:
    """int32 [m]; None without labels. Read on demand, since TFDS has to read its whole split for them."""
    labels = self.source.labels
    return None if labels is None else labels[self.indices]

  def __len__(self) -> int:
    return len(self.indices)

  def encoded(self, index: int) -> bytes | None:
    """Returns the bytes of the image's file, or None without a file."""
    return self.source.encoded(int(self.indices[index]))

  def read(self, index: int) -> np.ndarray:
    """Returns [h, w, channels] of `dtype`."""
    return self.source.read(int(self.indices[index]))

  def describe(self, index: int) -> str:
    """Returns the name of the image for messages."""
    return self.source.describe(int(self.indices[index]))
