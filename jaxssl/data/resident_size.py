"""Chooses `data.resident_size`, the side of images in accelerator memory, if the config leaves it open."""

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping

from jaxssl.config.schema import DataConfig, ViewConfig
from jaxssl.core import LOG
from jaxssl.data import sampler
from jaxssl.data.image_io import Decoder
from jaxssl.data.read_ahead import read_ahead
from jaxssl.data.source import Source

COMPARED = 1000  # images of each set, evenly spaced
_AHEAD = 64  # images that may be read in vain: mostly the first two already differ in size


def settled(config: DataConfig, views: Mapping[str, ViewConfig], sources: Iterable[Source]) -> DataConfig:
  """Sets `data.resident_size` if it is 0 and images of the sets differ in size, and logs it; warns of one that is too small."""
  if config.placement == "host":
    return config
  name, view = max(views.items(), key=lambda item: item[1].size)
  if config.resident_size:
    if config.resident_size < view.size:
      LOG.warning(
        "data.resident_size=%d is smaller than views.%s.size=%d: crops are enlarged beyond the images' own detail; "
        "expected at least %d, or 0 to choose it",
        *(config.resident_size, name, view.size, view.size),
      )
    return config
  for source in sources:
    if different := _different_sizes(source, config.workers):
      side = side_for(views)
      LOG.info("data.resident_size=%d: images differ in size (%s); 5/4 of views.%s.size=%d", side, different, name, view.size)
      return dataclasses.replace(config, resident_size=side)
  return config


def side_for(views: Mapping[str, ViewConfig]) -> int:
  """Returns the side in pixels of resident images whose sizes differ: 5/4 of the largest view."""
  return round(1.25 * max(view.size for view in views.values()))


def _different_sizes(source: Source, workers: int) -> str:
  """Names two images of different sizes among up to COMPARED; empty if there are none. Reads headers where they suffice."""

  def size(index: int) -> tuple[int, int]:
    data = source.encoded(index)
    height, width = (data and Decoder().jpeg_size(data)) or source.read(index).shape[:2]
    return height, width

  rows = sampler.evenly_spaced(len(source), COMPARED).tolist()
  first = None
  with contextlib.closing(read_ahead(size, rows, workers, _AHEAD)) as sizes:
    for row, (height, width) in zip(rows, sizes, strict=True):
      first = first or (row, height, width)
      if first[1:] != (height, width):
        return ", ".join(f"{source.describe(k)} is {w} x {h}" for k, h, w in (first, (row, height, width)))
  return ""
