"""Part of a JPEG, decoded by tensorflow: the fast way to cut crops from photographs."""

import functools
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxssl.data.pictures import open_image, orientation

_SMALL = 8192  # bytes; PIL decodes all of such a file sooner than a tensorflow op is called

Box = tuple[int, int, int, int]  # top, left, height, width in pixels


class Window(NamedTuple):
  """A decoded part of a picture: pixel (0, 0) is (top, left) of the picture shrunk by `ratio`."""

  pixels: np.ndarray  # uint8 [h, w, c]
  top: int = 0
  left: int = 0
  ratio: int = 1


@functools.cache
def tensorflow() -> Any:
  """Imports tensorflow, quietly and away from the accelerators."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # else every import prints a line about them; nothing here uses them
  import tensorflow as tf

  tf.config.set_visible_devices([], "GPU")
  return tf


def plain_size(data: bytes) -> tuple[int, int] | None:
  """Height and width of a JPEG that `decode_window` gets right and fast; None for anything else.

  That is an upright grey or colour JPEG, not a tiny one, that ends as it should: a decoder that stops below the last box would
  not notice that the rest of the file is missing.
  """
  if len(data) < _SMALL or data[:3] != b"\xff\xd8\xff" or data[-2:] != b"\xff\xd9":
    return None
  try:
    image = open_image(data)
  except Exception:  # as in pictures.decode, which will say what is wrong
    return None
  return (image.height, image.width) if image.mode in ("L", "RGB") and orientation(image) == 1 else None


def decode_window(data: bytes, channels: int, boxes: Sequence[Box], sides: Sequence[int]) -> Window | None:
  """Decodes the part of a JPEG that covers all `boxes`; None where that fails.

  The decoder halves the picture, up to three times, as long as every box stays at least as large as its view, `sides`.
  """
  tf = tensorflow()
  spare = min(min(box[2:]) / side for box, side in zip(boxes, sides, strict=True))
  ratio = max(r for r in (1, 2, 4, 8) if r <= max(spare, 1))
  top, left = min(box[0] for box in boxes) // ratio, min(box[1] for box in boxes) // ratio
  bottom, right = -(-max(box[0] + box[2] for box in boxes) // ratio), -(-max(box[1] + box[3] for box in boxes) // ratio)
  try:
    part = np.array([top, left, bottom - top, right - left], np.int32)
    pixels = tf.io.decode_and_crop_jpeg(data, part, channels=channels, ratio=ratio, dct_method="INTEGER_ACCURATE")
  except tf.errors.OpError:
    return None
  return Window(pixels.numpy(), top, left, ratio)
