"""OpenCV, imported on first use."""

import functools
from typing import Any


@functools.cache
def opencv() -> Any:
  """Imports OpenCV with its own threads switched off."""
  import cv2
  from cv2.utils import logging

  cv2.setNumThreads(0)  # the input pipeline has its own
  logging.setLogLevel(logging.LOG_LEVEL_SILENT)  # about damaged files, which are reported otherwise
  return cv2
