"""The protocol of image sources, their registry, and subsets."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from jaxssl.config.schema import DataConfig
from jaxssl.core.registry import Registry


class Source(Protocol):
  """Random access to images at positions 0..len - 1, from any thread. Labels are for evaluation only."""

  name: str
  channels: int  # of every image
  dtype: np.dtype  # of every image: uint8 or uint16

  @property
  def classes(self) -> tuple[str, ...]:
    """Class names; empty without labels."""
    ...

  @property
  def labels(self) -> np.ndarray | None:
    """int32 [n], -1 if unknown; None without labels."""
    ...

  def __len__(self) -> int: ...

  def read(self, index: int) -> np.ndarray:
    """Returns [h, w, channels] of `dtype`. Raises DecodeError, which names the image."""
    ...

  def encoded(self, index: int) -> bytes | None:
    """Returns the bytes of the image's file, or None without a file. Raises DecodeError, which names the image."""
    ...

  def describe(self, index: int) -> str:
    """Returns the file name, or "NAME image 17", for messages."""
    ...


# A source; an array [n, h, w] or [n, h, w, c]; items [h, w] or [h, w, c] behind an index; or one of the latter two with
# labels int [n]. Images are uint8 or uint16.
DataInput = np.ndarray | Sequence | Source | tuple[np.ndarray | Sequence, np.ndarray | None]
Opener = Callable[[DataConfig], tuple[DataInput, DataInput | None]]  # opens the training images and the test images, if any

O = TypeVar("O", bound=Opener)
SOURCES: Registry[Opener] = Registry("data.source")
FIELDS: dict[str, tuple[str, ...]] = {}  # source -> those of data.path, data.test_path and data.list_path that it reads


def register(name: str, fields: tuple[str, ...] = ()) -> Callable[[O], O]:
  """Returns a decorator that registers an opener as data.source=`name`.

  `fields`: those of "path" (then required), "test_path" and "list_path" that it reads; others must be empty in the config.
  """

  def add(opener: O) -> O:
    SOURCES.register(name)(opener)
    FIELDS[name] = fields
    return opener

  return add


class Subset:
  """The images of `source` at `indices`, int [m], in that order."""

  def __init__(self, source: Source, indices: np.ndarray):
    self.source, self.indices = source, indices
    self.name, self.channels, self.dtype = source.name, source.channels, source.dtype

  @property
  def classes(self) -> tuple[str, ...]:
    """Class names of the whole source."""
    return self.source.classes

  @property
  def labels(self) -> np.ndarray | None:
    """int32 [m]; None without labels."""
    labels = self.source.labels
    return None if labels is None else labels[self.indices]

  def __len__(self) -> int:
    return len(self.indices)

  def read(self, index: int) -> np.ndarray:
    """Returns [h, w, channels] of `dtype`. Raises DecodeError, which names the image."""
    return self.source.read(int(self.indices[index]))

  def encoded(self, index: int) -> bytes | None:
    """Returns the bytes of the image's file, or None without a file. Raises DecodeError, which names the image."""
    return self.source.encoded(int(self.indices[index]))

  def describe(self, index: int) -> str:
    """Returns the name of the image for messages."""
    return self.source.describe(int(self.indices[index]))
