"""What every source of images can do, and a part of one."""

from typing import Protocol

import numpy as np


class Source(Protocol):
  """Images by position, 0..len - 1, from any thread. Labels are for measuring only."""

  name: str
  channels: int  # of every image
  dtype: np.dtype  # of every image: uint8 or uint16

  @property
  def classes(self) -> tuple[str, ...]:
    """Class names; empty without labels."""
    ...

  @property
  def labels(self) -> np.ndarray | None:
    """int32 [n], -1 unknown; None without labels."""
    ...

  def __len__(self) -> int: ...

  def read(self, index: int) -> np.ndarray:
    """Gives [h, w, channels] of `dtype`. Raises BadImage naming the file."""
    ...

  def encoded(self, index: int) -> bytes | None:
    """The file's bytes as stored; None where there is no file. Raises BadImage naming the file."""
    ...

  def describe(self, index: int) -> str:
    """File name, or "NAME image 17": for messages."""
    ...


class Subset:
  """The images of `source` at `indices` int [m], in that order."""

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
    """Gives [h, w, channels] of `dtype`. Raises BadImage naming the file."""
    return self.source.read(int(self.indices[index]))

  def encoded(self, index: int) -> bytes | None:
    """The file's bytes as stored; None where there is no file."""
    return self.source.encoded(int(self.indices[index]))

  def describe(self, index: int) -> str:
    """Names the image in a message."""
    return self.source.describe(int(self.indices[index]))
