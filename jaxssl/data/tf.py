"""Tensorflow, imported late: it takes seconds and 650 MB."""

import functools
import os
from typing import Any


@functools.cache
def tensorflow() -> Any:
  """Imports tensorflow, quietly and away from the accelerators."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # else every import prints a line about them; nothing here uses them
  import tensorflow as tf

  tf.config.set_visible_devices([], "GPU")
  return tf
