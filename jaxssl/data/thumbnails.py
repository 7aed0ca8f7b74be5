"""Small images of a dataset, for the report and for sheets of neighbors."""

import numpy as np

from jaxssl.data.datasets import Dataset
from jaxssl.data.image_io import center, viewable


class Thumbnails:
  """The centers of a split's images, `side` pixels wide, and how their classes relate."""

  def __init__(self, split: Dataset, side: int):
    self.source, self.side = split.source, side

  def read(self, row: int) -> np.ndarray:
    """Reads an image: uint8 [side, side, 3]."""
    return viewable(center(self.source.read(row), self.side, self.side))

  def name(self, row: int) -> str:
    """Returns the name of an image's class; empty if it is unknown."""
    labels = self.source.labels
    return self.source.classes[labels[row]] if labels is not None and labels[row] >= 0 else ""

  def frame(self, row: int, other: int) -> str:
    """Returns whether two images are of the "same" class or of "other" ones; empty if that is unknown."""
    first, second = self.name(row), self.name(other)
    return "" if not first or not second else "same" if first == second else "other"
