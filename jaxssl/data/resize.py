"""Resizing of crops on the host by OpenCV: six times as fast as PIL, with as little aliasing."""

import functools
import math
from typing import Any

import numpy as np


@functools.cache
def opencv() -> Any:
  """Imports OpenCV with its own threads switched off."""
  import cv2

  cv2.setNumThreads(0)  # the input pipeline has its own
  return cv2


def resample(part: np.ndarray, out: np.ndarray, how: str) -> None:
  """Resizes [h, w, c], uint8 or uint16, into `out` [size, size, c], `how` bilinear or bicubic, antialiased.

  A crop that shrinks is first blurred by a truncated Gaussian with a deviation of 0.47 sqrt(shrink^2 - 1) pixels. Of the
  deviations and truncations tried on photographs, these come closest to PIL's antialiased filters for shrinks from 1 to 6
  (PSNR of 40 dB or more).
  """
  cv2 = opencv()
  filter = cv2.INTER_CUBIC if how == "bicubic" else cv2.INTER_LINEAR
  shrink = (part.shape[1] / out.shape[1], part.shape[0] / out.shape[0])
  sigma = [0.47 * math.sqrt(max(ratio**2 - 1, 1e-6)) for ratio in shrink]
  taps = [2 * math.ceil(1.2 * deviation - 0.3) + 1 for deviation in sigma]
  if max(taps) > 1:
    part = cv2.GaussianBlur(part, taps, *sigma)
  resized = cv2.resize(part, (out.shape[1], out.shape[0]), out, interpolation=filter)
  if resized is not out:  # OpenCV ignores outputs of some memory layouts
    out[...] = resized.reshape(out.shape)
