"""Small images of a run."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from jaxssl.data.datasets import Dataset
from jaxssl.data.image_io import viewable
from jaxssl.data.thumbnails import Thumbnails
from jaxssl.evals.features import FeatureExtractor
from jaxssl.report.text import data_uri, escape


def source(image: np.ndarray) -> str:
  """Returns the address of an image, uint8 [h, w, 3], that contains it as JPEG."""
  file = io.BytesIO()
  Image.fromarray(image).save(file, "JPEG", quality=82)
  return data_uri("jpeg", file.getvalue())


def tile(image: np.ndarray, label: str) -> str:
  """Returns an image, uint8 [side, side, 3], as wide as its container."""
  return f'<img class="tile" src="{source(image)}" alt="{escape(label)}" title="{escape(label)}">'


def panel(images: Sequence[tuple[str, np.ndarray]]) -> str:
  """Returns images with names, uint8 [side, side, 3], side by side with their names below."""
  tiles = "".join(f"<div>{tile(pixels, name)}<small>{escape(name)}</small></div>" for name, pixels in images)
  return f'<figure class="look" style="--n:{len(images)}">{tiles}</figure>'


def preprocessed(extractor: FeatureExtractor, split: Dataset, side: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns the images of a split as the network sees them, float32 [n, h, w, c], and for display, uint8 [n, side, side, 3]."""
  prep, source = extractor.preprocessing, split.source
  x = np.concatenate([prep.on_host(source.read(row)[None]) for row in range(len(split))])
  brightest = np.iinfo(source.dtype).max
  images = np.rint(np.clip((x * prep.std + prep.mean) * brightest, 0, brightest)).astype(source.dtype)
  return x, np.stack([np.asarray(Image.fromarray(viewable(image)).resize((side, side))) for image in images])


class Gallery(Thumbnails):
  """The centers of a split's images in HTML, each read once."""

  def __init__(self, split: Dataset, side: int):
    super().__init__(split, side)
    self._tiles: dict[int, str] = {}

  def tile(self, row: int) -> str:
    """Returns an image that is labeled with its class, if known, and number."""
    if row not in self._tiles:
      self._tiles[row] = tile(self.read(row), f"{self.name(row)}, image {row}".removeprefix(", "))
    return self._tiles[row]

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
