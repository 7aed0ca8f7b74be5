"""Small images of a run, many of which a page holds as one JPEG."""

import base64
import io
import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from jaxssl.data.datasets import Dataset
from jaxssl.data.image_io import center, viewable
from jaxssl.report.text import escape


class Sheet:
  """Images of one size side by side. `key`: unique in the page; `style`: belongs into the head of the page."""

  def __init__(self, key: str, images: Mapping[Any, np.ndarray]):
    """Takes uint8 [side, side, 3] each; 8 should divide the side, so that JPEG blocks do not cross borders."""
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

  def tile(self, which: Hashable, label: str) -> str:
    """Returns one image, as wide as its container."""
    y, x = divmod(self._place[which], self.columns)
    across, down = (100 * at / max(count - 1, 1) for at, count in ((x, self.columns), (y, self.rows)))
    text = escape(label)
    where = f"background-position:{across:.4g}% {down:.4g}%"
    return f'<i class="tile {self.key}" style="{where}" role="img" aria-label="{text}" title="{text}"></i>'


def thumbnail(split: Dataset, row: int, side: int) -> np.ndarray:
  """Reads the center of one image: uint8 [side, side, 3]."""
  return viewable(center(split.source.read(row), side, side))


def as_shown(split: Dataset) -> str:
  """Describes how images are shown that a screen cannot show as they are; empty for all others."""
  source, words = split.source, []
  if source.channels not in (1, 3):
    how = "their mean" if source.channels == 2 else "the first three, as red, green and blue,"
    words.append(f"{how} of {source.channels} channels")
  if source.dtype == np.uint16:
    words.append("the values between the darkest and the brightest percent of each 16-bit image")
  return f"<p>Images show {'; '.join(words)}.</p>" if words else ""


def name_of(split: Dataset, row: int) -> str:
  """Returns the class, if known, and the number of an image."""
  return f"{class_of(split, row)}, image {row}".removeprefix(", ")


def class_of(split: Dataset, row: int) -> str:
  """Returns the name of an image's class; empty if it is unknown."""
  labels = split.source.labels
  return split.source.classes[labels[row]] if labels is not None and labels[row] >= 0 else ""
