"""Tensorflow, imported late: it takes seconds and 650 MB."""

import functools
import os
from typing import Any

from jaxssl.types import UserError


@functools.cache
def tensorflow() -> Any:
  """Imports TensorFlow, quietly and away from the accelerators. Raises UserError if it is not installed."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # else every import prints a line about them; nothing here uses them
  try:
    import tensorflow as tf
  except ModuleNotFoundError as error:
    raise UserError(
      "data.placement=host and data.source=tfds need TensorFlow, which is not installed: it has no release for Python 3.14. "
      "Use data.placement=device with data.source=folder, or Python 3.11 to 3.13"
    ) from error

  tf.config.set_visible_devices([], "GPU")
  return tf
