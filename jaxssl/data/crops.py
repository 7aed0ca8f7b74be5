"""Random crops on the host: where they lie, and how they are cut from the pictures of the plan's rows."""

import math
import zlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jaxssl.config import ViewConfig
from jaxssl.data.base import Source
from jaxssl.data.jpeg import decode_plain, plain_size
from jaxssl.data.pictures import BadPicture, WrongChannels, decode
from jaxssl.data.plan import generator
from jaxssl.data.resample import resample

_ATTEMPTS = 10
Box = tuple[int, int, int, int]  # top, left, height, width in pixels


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
  h, w = (max(1, min(side, round(of))) for side, of in ((height, width / aspect), (width, height * aspect)))
  return (height - h) // 2, (width - w) // 2, h, w


def cut_rows(
  source: Source,
  index: np.ndarray,
  partner: np.ndarray,
  views: Mapping[str, ViewConfig],
  seed: int,
  epoch: int,
  out: Mapping[str, np.ndarray],
) -> None:
  """Cuts all views of the pairs of index and partner, int [n], into `out`: for each group [n, v, size, size, c].

  The boxes follow from (seed, epoch, index, group, view) alone. Each of a pair's two pictures is decoded once.
  """
  numbers = {name: zlib.crc32(name.encode()) for name in views}
  for row, pair in enumerate(zip(index.tolist(), partner.tolist(), strict=True)):
    wanted: dict[int, list[_View]] = {picture: [] for picture in pair}
    for name, group in views.items():
      for v in range(group.count):
        key = (seed, epoch, pair[0], numbers[name], v)
        wanted[pair[group.partner[v % len(group.partner)]]].append(_View(out[name][row, v], group, key))
    for picture, its_views in wanted.items():
      if its_views:
        _cut(source, picture, its_views)


class _View(NamedTuple):
  """A view to be cut: where it goes, [size, size, c], its group's config, and what its random numbers are keyed by."""

  out: np.ndarray
  group: ViewConfig
  key: tuple[int, ...]

  def box(self, height: int, width: int) -> Box:
    return random_box(generator(*self.key), height, width, self.group.crop_scale, self.group.crop_ratio)

  def fill(self, pixels: np.ndarray, box: Box, height: int, width: int) -> None:
    """Resizes the box's part of `pixels`, the picture of [height, width], maybe shrunk: then to its nearest whole pixels."""
    y, x = pixels.shape[0] / height, pixels.shape[1] / width
    top, bottom, left, right = box[0] * y, (box[0] + box[2]) * y, box[1] * x, (box[1] + box[3]) * x
    resample(pixels[round(top) : round(bottom), round(left) : round(right)], self.out, self.group.interpolation)


def _cut(source: Source, picture: int, views: list[_View]) -> None:
  """Fills the views of one picture."""
  data = source.encoded(picture)
  plain = source.channels in (1, 3) and source.dtype == np.uint8
  size = plain_size(data) if plain and data is not None else None
  pixels, boxes = None, []
  if data is not None and size is not None:
    boxes = [view.box(*size) for view in views]
    spare = min(min(box[2:]) / view.group.size for view, box in zip(views, boxes, strict=True))
    pixels = decode_plain(data, source.channels, size, spare)
  if pixels is None or size is None:
    try:
      pixels = source.read(picture) if data is None else decode(data, source.channels, source.describe(picture), source.dtype)
    except (BadPicture, WrongChannels):
      source.read(picture)  # a guard notes it, and answers with another picture from now on; without one this raises
      return _cut(source, picture, views)
    size = pixels.shape[0], pixels.shape[1]
    boxes = [view.box(*size) for view in views]
  for view, box in zip(views, boxes, strict=True):
    view.fill(pixels, box, *size)
