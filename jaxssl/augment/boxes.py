"""The random boxes of crops on the host, with NumPy: worker processes of the input pipeline do not import JAX."""

import math
from typing import Any

import numpy as np

Box = tuple[int, int, int, int]  # top, left, height, width in pixels
Range = tuple[float, float]
ATTEMPTS = 10


def box_of(draws: np.ndarray, height: int, width: int, scale: Range, ratio: Range) -> Box:
  """Returns the box of torchvision's RandomResizedCrop for uniform draws in 0..1, float [ATTEMPTS, 4].

  `scale`: range of the share of the area, uniform; (0, 0): the whole image. `ratio`: range of width / height, uniform in the
  logarithm. Takes the first of ten shapes that fits into the image, or else the largest centered box of an allowed ratio.
  """
  if scale == (0, 0):
    return 0, 0, height, width
  for share, turn, down, across in map(np.ndarray.tolist, draws):  # the first fits, as a rule
    area, log_aspect = area_and_log_aspect(share, turn, height, width, scale, ratio)
    aspect = math.exp(log_aspect)
    h, w = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
    if 0 < h <= height and 0 < w <= width:
      return int(down * (height - h + 1)), int(across * (width - w + 1)), h, w
  return largest_box(height, width, ratio)


def area_and_log_aspect(share: Any, turn: Any, height: int, width: int, scale: Range, ratio: Range) -> tuple[Any, Any]:
  """Maps uniform draws, floats or arrays, to the area and the logarithm of width / height."""
  low, high = math.log(ratio[0]), math.log(ratio[1])
  return height * width * (scale[0] + (scale[1] - scale[0]) * share), low + (high - low) * turn


def largest_box(height: int, width: int, ratio: Range) -> Box:
  """Returns the largest centered box whose ratio is allowed, at least one pixel high and wide."""
  aspect = min(max(width / height, ratio[0]), ratio[1])
  h, w = (max(1, min(side, round(other))) for side, other in ((height, width / aspect), (width, height * aspect)))
  return (height - h) // 2, (width - w) // 2, h, w
