"""Random crops on the host: views of images from files, each image decoded once and no larger than needed."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jaxssl.augment.geometry import Box, random_box
from jaxssl.config.schema import ViewConfig
from jaxssl.core.rng import generator
from jaxssl.data.image_io import DecodeError, WrongChannels, decode
from jaxssl.data.jpeg import decode_jpeg, jpeg_size
from jaxssl.data.resize import resample
from jaxssl.data.source import Source


def cut_rows(
  source: Source,
  index: np.ndarray,
  partner: np.ndarray,
  views: Mapping[str, ViewConfig],
  seed: int,
  epoch: int,
  out: Mapping[str, np.ndarray],
) -> None:
  """Cuts all views of the pairs (index, partner), int [n], into `out`, [n, v, size, size, c] for each group.

  The boxes are a function of (seed, epoch, index, group, view) only. Each image of a pair is decoded once.
  """
  for row, pair in enumerate(zip(index.tolist(), partner.tolist(), strict=True)):
    wanted: dict[int, list[_View]] = {image: [] for image in pair}
    for name, group in views.items():
      for v in range(group.count):
        view = _View(out[name][row, v], group, seed, f"crops/{name}", (epoch, pair[0], v))
        wanted[pair[group.partner[v % len(group.partner)]]].append(view)
    for image, its_views in wanted.items():
      if its_views:
        _cut(source, image, its_views)


class _View(NamedTuple):
  """A view to cut: its output [size, size, c], its group, and its random stream."""

  out: np.ndarray
  group: ViewConfig
  seed: int
  stream: str
  counters: tuple[int, int, int]

  def box(self, height: int, width: int) -> Box:
    rng = generator(self.seed, self.stream, *self.counters)
    return random_box(rng, height, width, self.group.crop_scale, self.group.crop_ratio)

  def fill(self, pixels: np.ndarray, box: Box, height: int, width: int) -> None:
    """Resizes the box's part of an image of [height, width] into `out`.

    `pixels` may be that image reduced in size; the box is then rounded to its pixels.
    """
    y, x = pixels.shape[0] / height, pixels.shape[1] / width
    top, bottom, left, right = box[0] * y, (box[0] + box[2]) * y, box[1] * x, (box[1] + box[3]) * x
    resample(pixels[round(top) : round(bottom), round(left) : round(right)], self.out, self.group.interpolation)


def _cut(source: Source, image: int, views: list[_View]) -> None:
  """Fills the views of one image."""
  data = source.encoded(image)
  fast = source.channels in (1, 3) and source.dtype == np.uint8
  size = jpeg_size(data) if fast and data is not None else None
  pixels, boxes = None, []
  if data is not None and size is not None:
    boxes = [view.box(*size) for view in views]
    spare = min(min(box[2:]) / view.group.size for view, box in zip(views, boxes, strict=True))
    pixels = decode_jpeg(data, source.channels, size, spare)
  if pixels is None or size is None:
    try:
      pixels = source.read(image) if data is None else decode(data, source.channels, source.describe(image), source.dtype)
    except (DecodeError, WrongChannels):
      source.read(image)  # SubstituteUnreadable records it and reads another image from now on; other sources raise
      return _cut(source, image, views)
    size = pixels.shape[0], pixels.shape[1]
    boxes = [view.box(*size) for view in views]
  for view, box in zip(views, boxes, strict=True):
    view.fill(pixels, box, *size)
