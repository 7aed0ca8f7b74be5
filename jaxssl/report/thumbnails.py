"""Small images of a run, many of which travel in a page as one JPEG."""

import base64
import io
import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from jaxssl.data.datasets import Dataset
from jaxssl.data.image_io import center, viewable
from jaxssl.report.descriptions import escape


class Sheet:
  """Images of one size side by side. `key` is its own among all of the page; `style` belongs into the page's head."""

  def __init__(self, key: str, images: Mapping[Any, np.ndarray]):
    """Takes uint8 [side, side, 3] each; a side that 8 divides keeps JPEG's blocks from crossing borders."""
    self.key, self._place = key, {which: place for place, which in enumerate(images)}
    side = len(next(iter(images.values())))
    self.columns = math.ceil(math.sqrt(len(images)))
    self.rows = math.ceil(len(images) / self.columns)
    sheet = np.full((self.rows * side, self.columns * side, 3), 255, np.uint8)
    for place, image in enumerate(images.values()):
      y, x = divmod(place, self.columns)
      sheet[y * side : (y + 1) * side, x * side : (x + 1) * side] = image
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "JPEG", quality=82)
    data = base64.b64encode(file.getvalue()).decode()
    size = f"{self.columns * 100}% {self.rows * 100}%"
    self.style = f".{key}{{background-image:url(data:image/jpeg;base64,{data});background-size:{size}}}"

  def tile(self, which: Hashable, says: str) -> str:
    """Shows one image as wide as what it stands in."""
    y, x = divmod(self._place[which], self.columns)
    across, down = (100 * at / max(count - 1, 1) for at, count in ((x, self.columns), (y, self.rows)))
    text = escape(says)
    where = f"background-position:{across:.4g}% {down:.4g}%"
    return f'<i class="tile {self.key}" style="{where}" role="img" aria-label="{text}" title="{text}"></i>'


def thumbnail(split: Dataset, row: int, side: int) -> np.ndarray:
  """Reads one image: uint8 [side, side, 3], its middle."""
  return viewable(center(split.source.read(row), side, side))


def as_shown(split: Dataset) -> str:
  """Says how images are shown that no screen can show as they are; empty for all others."""
  source, words = split.source, []
  if source.channels not in (1, 3):
    how = "their mean" if source.channels == 2 else "the first three as red, green and blue"
    words.append(f"of {source.channels} channels {how}")
  if source.dtype == np.uint16:
    words.append("of 16 bits what lies between the darkest and the brightest percent of each image")
  return f"<p>What is shown: {'; '.join(words)}.</p>" if words else ""


def says(split: Dataset, row: int) -> str:
  """Names an image, and its class where that is known."""
  return f"{class_of(split, row)}, image {row}".removeprefix(", ")


def class_of(split: Dataset, row: int) -> str:
  """Gives the name of an image's class; empty where it is not known."""
  labels = split.source.labels
  return split.source.classes[labels[row]] if labels is not None and labels[row] >= 0 else ""
