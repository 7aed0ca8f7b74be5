"""Images as evaluations see them: resized, with their center cropped."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jaxssl.data.file_kinds import DecodeError, UnsupportedImage
from jaxssl.data.image_io import center
from jaxssl.data.source import FailedImage, Source, decoder_of, optional
from jaxssl.data.unreadable import read_tolerantly

# A reduced image is at least so many times larger than the result, which then differs by 0.4 gray levels on average (50 dB)
_GAP = 2


class Resizing(NamedTuple):
  """How an image is resized, see `image_io.center`; to `resident_size` before if that is not 0."""

  resident_size: int
  resize: int
  size: int
  interpolation: str = "bicubic"

  def image(self, source: Source, index: int) -> np.ndarray:
    """Reads an image, [size, size, c]; a large JPEG is decoded at a reduced size. Raises as `Source.read` does."""
    if type(source).read is not Source.read or (data := source.encoded(index)) is None:
      return self.pixels(source.read(index))
    decoder = decoder_of(source)
    whole = optional(source, "known_jpeg_size", index) or decoder.jpeg_size(data)
    spare = min(whole) / (_GAP * (self.resident_size or self.resize or self.size)) if whole else 1
    return self.pixels(decoder.decode(data, source.describe(index), spare, whole), whole)

  def pixels(self, image: np.ndarray, whole: tuple[int, int] | None = None) -> np.ndarray:
    """Returns [size, size, c] from [h, w, c] of any size. `whole`: height and width, if it was decoded at a reduced size."""
    if self.resident_size:
      image, whole = center(image, self.resident_size, self.resident_size, whole=whole), None
    return center(image, self.resize, self.size, self.interpolation, whole)


def read_resized(source: Source, index: int, resizing: Resizing) -> np.ndarray:
  """Reads one image as `resizing` does, [size, size, c], from a source that may substitute or skip it (then it is black)."""

  def read(origin: Source, images: np.ndarray) -> np.ndarray:
    image = int(images[0])
    if image < 0:
      return np.zeros((resizing.size, resizing.size, source.channels), source.dtype)
    try:
      return resizing.image(origin, image)
    except (DecodeError, UnsupportedImage) as error:
      raise FailedImage(image, error) from error

  return read_tolerantly(source, np.array([index]), read)


def read_centers(source: Source, rows: np.ndarray, resizing: Resizing, out: Mapping[str, np.ndarray]) -> None:
  """Reads images into rows of out["images"], [b, size, size, c]; rows: int [m, 2], positions in `source` and in the batch.

  Raises FailedImage for an image that cannot be read.
  """
  for image, row in rows.tolist():
    try:
      out["images"][row] = resizing.image(source, image)
    except (DecodeError, UnsupportedImage) as error:
      raise FailedImage(image, error) from error
