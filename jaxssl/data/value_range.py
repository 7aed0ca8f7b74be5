"""The range of values in files and arrays that are wider than 8 bits, decided once from the training images."""

import dataclasses
import functools

import numpy as np

from jaxssl.config.schema import DataConfig
from jaxssl.core import LOG
from jaxssl.data import sampler
from jaxssl.data.file_kinds import EIGHT_BITS, DecodeError, Stored, UnsupportedImage
from jaxssl.data.image_io import DEPTHS
from jaxssl.data.read_ahead import read_ahead
from jaxssl.data.readers import holds_8_bits
from jaxssl.data.source import Source, decoder_of

SAMPLED = 1000  # images, evenly spaced


def settled(config: DataConfig, source: Source, tolerant: bool = False) -> DataConfig:
  """Decides `data.bit_depth` if it is 0, and logs it: the smallest that covers a sample of the training images.

  Every sampled image requires the bits that its metadata states, or else those of its largest value. Damaged images are left
  out. Raises UnsupportedImage for an image that cannot be read as configured, unless `tolerant`.
  """
  if config.bit_depth:
    return config
  ignored = (DecodeError, UnsupportedImage) if tolerant else (DecodeError,)
  rows = sampler.evenly_spaced(len(source), SAMPLED).tolist()
  stated = bool(decoder_of(source).bit_depth)  # by the type of the source
  if stated:
    bits = [8 * source.dtype.itemsize]
  else:
    found = list(read_ahead(functools.partial(_bits, source, ignored), rows, config.workers, SAMPLED))
    bits, pages = [bits for bits, _ in found], [pages for _, pages in found]
    if (most := max(pages, default=1)) > 1:
      several = sum(number > 1 for number in pages)
      LOG.warning("%d of %d images have up to %d pages, of which the first is read", several, len(rows), most)
  depth = next(depth for depth in DEPTHS if depth >= max(bits, default=8))
  if not stated:
    LOG.info("data.bit_depth=%d, decided on %d of %d training images", depth, len(rows), len(source))
  return dataclasses.replace(config, bit_depth=depth)


def check(config: DataConfig, source: Source) -> None:
  """Reads a sample of another set than the training images, if its files may hold more bits than `data.bit_depth`.

  Raises UnsupportedImage for an image that cannot be read as configured, such as one of larger values.
  """
  if config.bit_depth == max(DEPTHS) or not getattr(source, "decoder", None):
    return
  rows = sampler.evenly_spaced(len(source), SAMPLED).tolist()
  found = read_ahead(functools.partial(_bits, source, (DecodeError,)), rows, config.workers, SAMPLED)
  for row, (needed, _) in zip(rows, found, strict=True):
    if needed > config.bit_depth:
      source.read(row)


def _bits(source: Source, ignored: tuple[type[Exception], ...], index: int) -> tuple[int, int]:
  """Returns the bits that an image requires, at least 8 and at most 16, 8 for a damaged one; and the number of its pages."""
  name = source.describe(index)
  if name.lower().endswith(EIGHT_BITS):
    return 8, 1
  try:
    data = source.encoded(index)
    if data is not None and holds_8_bits(data):
      return 8, 1
    stored = source.stored(index) if data is None else decoder_of(source).stored(data, name)
    return required_bits(stored, name), stored.pages
  except ignored:
    return 8, 1


def required_bits(stored: Stored, name: str) -> int:
  """Returns the bits that values require, 8 to 16. Raises UnsupportedImage for values outside of 16 bits."""
  if stored.pixels.dtype == np.uint8:
    return 8
  low, high = int(stored.pixels.min()), int(stored.pixels.max())
  if low < 0 or high > 65535:
    raise UnsupportedImage(f"{name}: values from {low} to {high}; shift and scale them to uint8 or uint16")
  return min(max(8, stored.declared, high.bit_length()), 16)
