"""Small images of a run."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from jaxssl.data.datasets import Dataset
from jaxssl.data.image_io import center, viewable
from jaxssl.report.text import data_uri, escape


def source(image: np.ndarray) -> str:
  """Returns the address of an image, uint8 [h, w, 3], that contains it as JPEG."""
  file = io.BytesIO()
  Image.fromarray(image).save(file, "JPEG", quality=82)
  return data_uri("jpeg", file.getvalue())


def tile(image: np.ndarray, label: str) -> str:
  """Returns an image, uint8 [side, side, 3], as wide as its container."""
  return f'<img class="tile" src="{source(image)}" alt="{escape(label)}" title="{escape(label)}">'


class Gallery:
  """The centers of a split's images, `side` pixels wide, each read once."""

  def __init__(self, split: Dataset, side: int):
    self.source, self.side, self._tiles = split.source, side, {}

  def read(self, row: int) -> np.ndarray:
    """Reads an image: uint8 [side, side, 3]."""
    return viewable(center(self.source.read(row), self.side, self.side))

  def tile(self, row: int) -> str:
    """Returns an image that is labeled with its class, if known, and number."""
    if row not in self._tiles:
      self._tiles[row] = tile(self.read(row), f"{self.name(row)}, image {row}".removeprefix(", "))
    return self._tiles[row]

  def name(self, row: int) -> str:
    """Returns the name of an image's class; empty if it is unknown."""
    labels = self.source.labels
    return self.source.classes[labels[row]] if labels is not None and labels[row] >= 0 else ""

  def frame(self, row: int, other: int) -> str:
    """Returns whether two images are of the "same" class or of "other" ones; empty if that is unknown."""
    first, second = self.name(row), self.name(other)
    return "" if not first or not second else "same" if first == second else "other"

  def framed(self, row: int, others: Sequence[int], captions: Sequence[str] = ()) -> str:
    """Returns the tiles of other images, framed by whether they are of the class of `row`, with captions below."""
    pairs = zip(others, captions or [""] * len(others), strict=True)
    return "".join(f'<div class="{self.frame(row, other)}">{self.tile(other)}{caption}</div>' for other, caption in pairs)


def as_shown(split: Dataset) -> str:
  """Describes how images that a screen cannot display unchanged are shown; empty for all others."""
  source, words = split.source, []
  if source.channels not in (1, 3):
    mapping = "their mean" if source.channels == 2 else "the first three, as red, green and blue,"
    words.append(f"{mapping} of {source.channels} channels")
  if source.dtype == np.uint16:
    words.append("the values between the darkest and the brightest percent of each 16-bit image")
  return f"<p>Images show {'; '.join(words)}.</p>" if words else ""
