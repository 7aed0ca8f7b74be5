"""Images as evaluations see them: resized, with their center cropped."""

from collections.abc import Mapping

import numpy as np

from jaxssl.data.file_kinds import DecodeError, UnsupportedImage
from jaxssl.data.image_io import center
from jaxssl.data.source import FailedImage, Source, decoder_of, optional

_GAP = 2  # a reduced image is at least so many times larger than the result, which then differs by less than a gray level


def read_centers(
  source: Source, rows: np.ndarray, resize: int, size: int, interpolation: str, out: Mapping[str, np.ndarray]
) -> None:
  """Reads images into rows of out["images"], [b, size, size, c]; rows: int [m, 2], positions in `source` and in the batch.

  See `image_io.center` for the sizes. Raises FailedImage for an image that cannot be read.
  """
  for image, row in rows.tolist():
    try:
      out["images"][row] = center(read_reduced(source, image, resize or size), resize, size, interpolation)
    except (DecodeError, UnsupportedImage) as error:
      raise FailedImage(image, error) from error


def read_reduced(source: Source, image: int, side: int) -> np.ndarray:
  """Returns [h, w, channels] of an image that is needed with a shorter side of `side` pixels: large JPEGs are decoded smaller.

  Raises as `Source.read` does.
  """
  if type(source).read is not Source.read or (data := source.encoded(image)) is None:
    return source.read(image)
  decoder = decoder_of(source)
  shown = optional(source, "known_jpeg_size", image) or decoder.jpeg_size(data)
  return decoder.decode(data, source.describe(image), min(shown) / (_GAP * side) if shown else 1, shown)
