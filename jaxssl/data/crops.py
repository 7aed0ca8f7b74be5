"""Random crops on the host: where they lie, and how they are cut from the pictures of one row of the plan."""

import math
import zlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jaxssl.config import ViewConfig
from jaxssl.data.base import Source
from jaxssl.data.jpeg import Box, Window, decode_window, plain_size
from jaxssl.data.pictures import BadPicture, decode, resize
from jaxssl.data.plan import generator

_ATTEMPTS = 10


def random_box(
  rng: np.random.Generator, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> Box:
  """Draws a box as torchvision's RandomResizedCrop does.

  `scale`: range of its share of the area, uniform; (0, 0): the whole picture. `ratio`: range of width over height, uniform in
  the logarithm. Ten boxes are tried; if none fits, the largest centred one of an allowed ratio is taken.
  """
  if scale == (0, 0):
    return 0, 0, height, width
  low, high = math.log(ratio[0]), math.log(ratio[1])
  for _ in range(_ATTEMPTS):
    share, turn, down, across = rng.random(4)
    area = height * width * (scale[0] + (scale[1] - scale[0]) * share)
    aspect = math.exp(low + (high - low) * turn)
    w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    if 0 < w <= width and 0 < h <= height:
      return int(down * (height - h + 1)), int(across * (width - w + 1)), h, w
  aspect = min(max(width / height, ratio[0]), ratio[1])
  h, w = min(height, round(width / aspect)), min(width, round(height * aspect))
  return (height - h) // 2, (width - w) // 2, h, w


def cut_row(
  source: Source, index: int, partner: int, views: Mapping[str, ViewConfig], seed: int, epoch: int
) -> tuple[np.ndarray, ...]:
  """Cuts all views of one (index, partner) pair: for each group uint8 [v, size, size, c].

  The boxes follow from (seed, epoch, index, group, view) alone. Each of the two pictures is decoded once.
  """
  cut = tuple(np.empty((group.count, group.size, group.size, source.channels), np.uint8) for group in views.values())
  wanted: dict[int, list[_View]] = {index: [], partner: []}
  for out, (name, group) in zip(cut, views.items(), strict=True):
    for v in range(group.count):
      picture = partner if group.partner[v % len(group.partner)] else index
      wanted[picture].append(_View(out[v], group, (seed, epoch, index, zlib.crc32(name.encode()), v)))
  for picture, its_views in wanted.items():
    if its_views:
      _cut(source, picture, its_views)
  return cut


class _View(NamedTuple):
  """A view to be cut: where it goes, uint8 [size, size, c], its group's config, and what its random numbers are keyed by."""

  out: np.ndarray
  group: ViewConfig
  key: tuple[int, ...]

  def box(self, height: int, width: int) -> Box:
    return random_box(generator(*self.key), height, width, self.group.crop_scale, self.group.crop_ratio)

  def fill(self, window: Window, box: Box) -> None:
    """Resizes the box's part of the window: nothing outside the box shows, up to the rounding of a shrunk window."""
    top, left, bottom, right = (edge / window.ratio for edge in (box[0], box[1], box[0] + box[2], box[1] + box[3]))
    y, x, y_end, x_end = math.floor(top), math.floor(left), math.ceil(bottom), math.ceil(right)
    part = window.pixels[y - window.top : y_end - window.top, x - window.left : x_end - window.left]
    size = self.group.size
    self.out[...] = resize(part, size, size, self.group.interpolation, (left - x, top - y, right - x, bottom - y))


def _cut(source: Source, picture: int, views: list[_View]) -> None:
  """Fills the views of one picture."""
  data, window, boxes = source.encoded(picture), None, []
  if data is not None and (shape := plain_size(data)):
    boxes = [view.box(*shape) for view in views]
    window = decode_window(data, source.channels, boxes, [view.group.size for view in views])
  if window is None:
    try:
      pixels = source.read(picture) if data is None else decode(data, source.channels, source.describe(picture))
    except BadPicture:
      source.read(picture)  # a guard notes it, and answers with another picture from now on; without one this raises
      return _cut(source, picture, views)
    window, boxes = Window(pixels), [view.box(*pixels.shape[:2]) for view in views]
  for view, box in zip(views, boxes, strict=True):
    view.fill(window, box)
