"""Decodes images: files to uint8 or uint16 arrays of the configured channels and range; converts and resizes with Pillow."""

import contextlib
import dataclasses
import io
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image, JpegImagePlugin

from jaxssl.config.schema import DataConfig
from jaxssl.data import readers
from jaxssl.data.file_kinds import (
  JPEG,
  DecodeError,
  Stored,
  UnsupportedImage,
  WrongChannels,
  check_array,
  check_size,
  jpeg_frame,
)

DEPTHS = (8, 10, 12, 14, 16)  # that data.bit_depth may be
_FILTERS = {name: Image.Resampling[name.upper()] for name in ("nearest", "bilinear", "bicubic")}
_TURNS = {  # EXIF orientation -> how the stored rows and columns become upright
  2: lambda image: image[:, ::-1],
  3: lambda image: image[::-1, ::-1],
  4: lambda image: image[::-1],
  5: lambda image: image.swapaxes(0, 1),
  6: lambda image: np.rot90(image, -1),
  7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
  8: lambda image: np.rot90(image, 1),
}


def dtype_of(bit_depth: int) -> np.dtype:
  """Returns the type of images in memory, whose full range they have: uint8 for 8 bits (0: undecided), else uint16."""
  return np.dtype(np.uint8 if bit_depth <= 8 else np.uint16)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoder:
  """Turns files and arrays into images [h, w, channels] of one type and range: the only definition of what pixels are read.

  `bit_depth`: of values that are wider than 8 bits; 0: not yet decided, so that only images of 8 bits can be decoded.
  """

  channels: int = 3
  bit_depth: int = 8
  max_pixels: int = 2**28
  allow_truncated: bool = False

  @classmethod
  def of(cls, config: DataConfig) -> "Decoder":
    """Returns the decoder that `data` describes."""
    return cls(**{field.name: getattr(config, field.name) for field in dataclasses.fields(cls)})

  @property
  def dtype(self) -> np.dtype:
    """uint8 or uint16."""
    return dtype_of(self.bit_depth)

  def decode(self, data: bytes, name: str, spare: float = 1, size: tuple[int, int] | None = None) -> np.ndarray:
    """Decodes a file's first image, upright, transparent parts on white: [h, w, channels] of `dtype`.

    Ordinary JPEGs are reduced by the largest supported factor up to `spare`, if that is 2 or more. `size`: what `jpeg_size`
    returns, if it is known. Raises, with `name` in the
    message, DecodeError for a damaged file, and UnsupportedImage for one that cannot be read as configured.
    """
    if size := size or self.jpeg_size(data):
      height, width = (math.ceil(side / max(spare, 1)) for side in size)
      colors = "GRAY" if self.channels == 1 else "RGB"
      with contextlib.suppress(ValueError):  # of a damaged file, which Pillow describes or accepts
        image = simplejpeg.decode_jpeg(data, colors, min_height=height, min_width=width, min_factor=2)
        return match(image, self.channels, self.dtype, name)
    return self.convert(self.stored(data, name), name)

  def stored(self, data: bytes, name: str) -> Stored:
    """Reads a file's first image as it is stored. Raises as `decode` does."""
    if not data:
      raise DecodeError(f"{name}: the file is empty")
    if self.allow_truncated and data.startswith(JPEG):
      data += b"\xff\xd9"  # ends the image; rows that are missing become gray
    hint = "; data.allow_truncated=True reads it" if data.startswith(JPEG) else ""
    with _named(name, hint):
      return _not_empty(readers.read(data, self.channels, self.max_pixels))

  def opened(self, image: Image.Image, name: str) -> Stored:
    """Takes an image of any mode that Pillow has opened. Raises as `decode` does."""
    with _named(name):
      check_size(image.height, image.width, 1, self.max_pixels)
      return _not_empty(readers.from_pil(image))

  def array(self, values: np.ndarray, name: str) -> Stored:
    """Takes integers [h, w] or [h, w, c] of any type. Raises as `decode` does."""
    with _named(name):
      check_array(values.shape, values.dtype, self.max_pixels)
      return _not_empty(Stored(np.atleast_3d(values)))

  def convert(self, stored: Stored, name: str) -> np.ndarray:
    """Returns the upright image [h, w, channels] of `dtype`. Raises UnsupportedImage for values or channels that do not fit."""
    image = self._in_range(stored.pixels, name)
    if stored.zero_is_white:
      image = np.iinfo(image.dtype).max - image
    if stored.orientation != 1:
      image = _TURNS[stored.orientation](image)
    return np.ascontiguousarray(match(image, self.channels, self.dtype, name))

  def _in_range(self, values: np.ndarray, name: str) -> np.ndarray:
    """Scales integers wider than 8 bits from 0..2**bit_depth - 1 to the range of `dtype`; uint8 has its own range."""
    if values.dtype == np.uint8:
      return values
    if not self.bit_depth:
      raise UnsupportedImage(f"{name}: {values.dtype} pixels of an unknown range; set data.bit_depth")
    top, full = 2**self.bit_depth - 1, int(np.iinfo(self.dtype).max)
    low, high = int(values.min()), int(values.max())
    if low < 0:
      raise UnsupportedImage(f"{name}: values down to {low}; shift and scale them to uint8 or uint16")
    if high > top:
      larger = next((depth for depth in DEPTHS if high < 2**depth), None)
      advice = f"start a new run with data.bit_depth={larger}" if larger else "scale them to uint8 or uint16"
      raise UnsupportedImage(f"{name}: values up to {high}, above data.bit_depth={self.bit_depth} (0 to {top}); {advice}")
    if top == full:
      return values.astype(self.dtype)
    return ((values.astype(np.uint32) * full + top // 2) // top).astype(self.dtype)

  def jpeg_size(self, data: bytes) -> tuple[int, int] | None:
    """Returns height and width of an upright gray or color JPEG that is decoded to 1 or 3 channels; else None."""
    if not data.startswith(JPEG) or self.channels not in (1, 3):
      return None
    frame = jpeg_frame(data)
    if frame is None or frame.bits != 8 or frame.components not in (1, 3) or frame.height * frame.width > self.max_pixels:
      return None
    return None if frame.tagged and _is_turned(data) else (frame.height, frame.width)


def _is_turned(data: bytes) -> bool:
  """Returns whether a JPEG is not upright, or cannot be opened, which decoding reports."""
  try:
    return readers.orientation(JpegImagePlugin.JpegImageFile(io.BytesIO(data))) != 1
  except Exception:
    return True


@contextlib.contextmanager
def _named(name: str, truncated: str = "") -> Iterator[None]:
  """Puts `name` before the messages of errors, and `truncated` after those of truncated files."""
  try:
    yield
  except UnsupportedImage as error:
    raise type(error)(f"{name}: {error}") from error
  except MemoryError as error:
    raise UnsupportedImage(f"{name}: too little memory to decode it; lower data.max_pixels, or cut it into tiles") from error
  except Exception as error:  # Pillow raises almost any type for a damaged file, which must not end a run
    raise DecodeError(f"{name}: {error}{truncated if 'truncated' in str(error) else ''}") from error


def _not_empty(stored: Stored) -> Stored:
  if not stored.pixels.size:
    raise ValueError(f"an empty image {list(stored.pixels.shape)}")
  return stored


def match(image: np.ndarray, channels: int, dtype: Any, name: str) -> np.ndarray:
  """Converts [h, w, c], uint8 or uint16, to [h, w, channels] of `dtype`: gray is repeated, color is reduced to luma.

  Raises WrongChannels for other combinations.
  """
  count = image.shape[-1]
  if count != channels:
    if {count, channels} != {1, 3}:
      raise WrongChannels(f"{name}: has {count} channels, but data.channels={channels}; data.channels={count} reads them")
    if channels == 3:
      image = np.repeat(image, 3, axis=-1)
    else:
      luma = image.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32)
      image = ((luma[..., None] + 32768) >> 16).astype(image.dtype)
  if image.dtype == dtype:
    return image
  wide = image.astype(np.uint32)
  return (wide * 257 if dtype == np.uint16 else (wide + 128) // 257).astype(dtype)


def viewable(image: np.ndarray) -> np.ndarray:
  """Converts [h, w, c], uint8 or uint16, for display: uint8 [h, w, 3].

  The first three channels are shown as red, green and blue, two channels as their mean. 16-bit values are stretched from the
  1st to the 99th percentile of the image, since few instruments use the full range.
  """
  image = image[..., :3] if image.shape[-1] != 2 else image.mean(-1, keepdims=True).astype(image.dtype)
  if image.dtype != np.uint8:
    low, high = np.percentile(image, (1, 99))
    image = np.clip((image - low) * (255 / max(high - low, 1)), 0, 255).astype(np.uint8)
  return match(image, 3, np.uint8, "an image")


def resize(
  image: np.ndarray, height: int, width: int, method: str = "bicubic", box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
  """Resizes [h, w, c], uint8 or uint16: nearest, or bilinear or bicubic with antialiasing. `box`: left, top, right, bottom."""
  if image.dtype == np.uint8 and image.shape[-1] in (1, 3):
    pil_image = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    return np.atleast_3d(np.asarray(pil_image.resize((width, height), _FILTERS[method], box)))
  planes = (Image.fromarray(plane) for plane in np.moveaxis(image, -1, 0).astype(np.float32))
  resized = np.stack([np.asarray(plane.resize((width, height), _FILTERS[method], box)) for plane in planes], axis=-1)
  return np.clip(np.rint(resized), 0, np.iinfo(image.dtype).max).astype(image.dtype)


def reduction(whole: tuple[int, ...], reduced: tuple[int, ...]) -> float:
  """Returns by what factor libjpeg-turbo has reduced an image: 8/1 to 8/8, sizes rounded up."""
  return 8 / next(m for m in range(8, 0, -1) if all(-(-a * m // 8) == b for a, b in zip(whole, reduced, strict=True)))


def center(
  image: np.ndarray, shorter: int, size: int, method: str = "bicubic", whole: tuple[int, int] | None = None
) -> np.ndarray:
  """Resizes the shorter side of [h, w, c] to `shorter` and crops the center: [size, size, c], size <= shorter.

  With `shorter` 0, the whole image is resized to the square. Sizes and offsets are rounded as in torchvision. `whole`: height
  and width of the image if it was decoded at a reduced size.
  """
  height, width = whole or image.shape[:2]
  reduced = reduction((height, width), image.shape[:2])
  if not shorter:
    return resize(image, size, size, method, (0, 0, width / reduced, height / reduced))
  tall, wide = (shorter, shorter * width // height) if height <= width else (shorter * height // width, shorter)
  top, left, y, x = round((tall - size) / 2), round((wide - size) / 2), height / tall, width / wide
  # Only the center is computed. The filter still reads pixels around the box, so this equals resizing, then cropping.
  box = left * x, top * y, min((left + size) * x, width), min((top + size) * y, height)
  left, top, right, bottom = (side / reduced for side in box)
  return resize(image, size, size, method, (left, top, right, bottom))
