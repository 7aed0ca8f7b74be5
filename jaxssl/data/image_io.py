"""Decodes image files to uint8 or uint16 arrays, converts channels and bits, and resizes with PIL."""

import contextlib
import functools
import io
import math
from typing import Any

import numpy as np
import simplejpeg
from PIL import ExifTags, Image, ImageOps, JpegImagePlugin, UnidentifiedImageError

from jaxssl.core import UserError

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".npy")
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")  # by content, which may differ from the ending
NPY, TIFF = b"\x93NUMPY", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # how files begin; the last two: BigTIFF
_MAX_BYTES = 2**30  # per TIFF of any number of channels; a header of a few bytes can claim any size
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@functools.cache
def opencv() -> Any:
  """Imports OpenCV with its own threads switched off."""
  import cv2

  cv2.setNumThreads(0)  # the input pipeline has its own
  return cv2


def dtype_of(depth: int) -> np.dtype:
  """Returns the type of images of 8 or 16 bits."""
  return np.dtype(f"uint{depth}")


class DecodeError(UserError):
  """An unreadable image. The message names it and the reason."""


class WrongChannels(UserError):
  """An image whose channels do not convert to `data.channels`: the whole set has others, or it is mixed."""


def decode(data: bytes, channels: int, name: str, dtype: Any = np.uint8, spare: float = 1) -> np.ndarray:
  """Decodes a file's first image, upright, transparent parts on white: [h, w, channels] of `dtype`, uint8 or uint16.

  Gray and color convert to each other. Other numbers of channels are read from .npy and TIFF. Ordinary JPEGs are reduced by
  the largest supported factor up to `spare`, if that is 2 or more. Raises DecodeError, with `name` in the message, for a
  damaged file or an unknown format, and WrongChannels if the channels do not convert.
  """
  if not data:
    raise DecodeError(f"{name}: the file is empty")
  if size := jpeg_size(data, channels, dtype):
    height, width = (math.ceil(side / max(spare, 1)) for side in size)
    with contextlib.suppress(ValueError):  # of a damaged file, which PIL describes
      return simplejpeg.decode_jpeg(data, "GRAY" if channels == 1 else "RGB", min_height=height, min_width=width, min_factor=2)
  try:
    is_array = data.startswith(NPY) or (data.startswith(TIFF) and channels not in (1, 3))
    image = _read_array(data) if is_array else _by_pil(data, channels, dtype)
  except UnidentifiedImageError as error:
    raise DecodeError(f"{name}: not an image of a known format") from error
  except Exception as error:  # PIL raises almost any type for a damaged file, which must not end a run
    raise DecodeError(f"{name}: {error}") from error
  return match(image, channels, dtype, name)


def jpeg_size(data: bytes, channels: int, dtype: Any) -> tuple[int, int] | None:
  """Returns height and width of an upright gray or color JPEG that is decoded to 1 or 3 channels of uint8; else None."""
  if not data.startswith(b"\xff\xd8\xff") or channels not in (1, 3) or dtype != np.uint8:
    return None
  try:
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))  # Image.open would refuse the 200 megapixels of a phone
  except Exception:  # decoding reports what is wrong
    return None
  too_large = image.height * image.width > 2**28  # for PIL
  if too_large or image.mode not in ("L", "RGB") or _orientation(image) != 1:
    return None
  return image.height, image.width


def _read_array(data: bytes) -> np.ndarray:
  """Reads .npy, [h, w] or [h, w, c], or TIFF, whose channels are samples or pages: [h, w, c].

  Raises ValueError for other dimensions and for types other than uint8 and uint16.
  """
  if data.startswith(NPY):
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.ndim not in (2, 3):
      raise ValueError(f"an array {list(array.shape)}; expected [h, w] or [h, w, c]")
  else:
    array = _read_tiff(data)
  kind = array.dtype.newbyteorder("=")
  if kind not in (np.uint8, np.uint16):
    raise ValueError(f"{array.dtype} pixels; expected uint8 or uint16")
  if not array.size:
    raise ValueError(f"an empty array {list(array.shape)}")
  return np.ascontiguousarray(np.atleast_3d(array), kind)


def _read_tiff(data: bytes) -> np.ndarray:
  """Reads the first series of a TIFF; the axis that is neither rows nor columns holds the channels."""
  import tifffile

  with tifffile.TiffFile(io.BytesIO(data)) as file:
    if not file.series:
      raise ValueError("a TIFF without pages")
    series = file.series[0]
    if math.prod(series.shape) * 2 > _MAX_BYTES:
      raise ValueError(f"a TIFF {list(series.shape)}: too large")
    array, axes = series.asarray(), series.axes
  for i in reversed(range(array.ndim)):  # some versions of tifffile leave axes of length 1
    if array.shape[i] == 1 and axes[i] not in "YX":
      array, axes = array.squeeze(i), axes[:i] + axes[i + 1 :]
  if len(axes) not in (2, 3) or "Y" not in axes or "X" not in axes:
    raise ValueError(f"a TIFF of axes {axes}; expected rows (Y), columns (X), and at most one axis of channels")
  return np.moveaxis(array, (axes.index("Y"), axes.index("X")), (0, 1))


def _by_pil(data: bytes, channels: int, dtype: Any) -> np.ndarray:
  """Decodes a gray or color image; with 16 bits if both `dtype` and the file have them."""
  image = Image.open(io.BytesIO(data), formats=FORMATS)
  if dtype == np.uint16 and _orientation(image) == 1 and image.format in ("PNG", "TIFF"):
    deep = opencv().imdecode(np.frombuffer(data, np.uint8), opencv().IMREAD_UNCHANGED)
    if deep is not None and deep.dtype == np.uint16 and (deep.ndim == 2 or deep.shape[-1] == 3):
      return np.ascontiguousarray(np.atleast_3d(deep)[..., ::-1])
  image.load()
  return from_pil(image)


def from_pil(image: Image.Image) -> np.ndarray:
  """Converts a loaded image of any mode to uint8 [h, w, 1 or 3], or uint16 [h, w, 1], upright, transparent parts on white.

  Raises ValueError for floats and for values outside of 16 bits.
  """
  if _orientation(image) != 1:
    image = ImageOps.exif_transpose(image)
  if image.mode == "F":
    raise ValueError("floating-point pixels; expected 8 or 16 bits")
  if image.mode.startswith("I"):
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
      raise ValueError("values outside of 16 bits")
    return values.astype(np.uint16)[..., None]
  if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
    image = image.convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
  return np.atleast_3d(np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB")))


def _orientation(image: Image.Image) -> int:
  """Returns the EXIF orientation; 1 (upright) if there is none or it is unreadable."""
  try:
    return image.getexif().get(ExifTags.Base.Orientation, 1)
  except Exception:  # damaged EXIF data does not make the image unreadable
    return 1


def match(image: np.ndarray, channels: int, dtype: Any, name: str) -> np.ndarray:
  """Converts [h, w, c], uint8 or uint16, to [h, w, channels] of `dtype`: gray is repeated, color is reduced to luma.

  Raises WrongChannels for other combinations.
  """
  count = image.shape[-1]
  if count != channels:
    if {count, channels} != {1, 3}:
      raise WrongChannels(f"{name} has {count} channels, but data.channels={channels}")
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
  """Resizes [h, w, c], uint8 or uint16, with antialiasing. `method`: bilinear or bicubic; `box`: (left, top, right, bottom)."""
  if image.dtype == np.uint8 and image.shape[-1] in (1, 3):
    pil_image = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    return np.atleast_3d(np.asarray(pil_image.resize((width, height), _FILTERS[method], box)))
  planes = (Image.fromarray(plane) for plane in np.moveaxis(image, -1, 0).astype(np.float32))
  resized = np.stack([np.asarray(plane.resize((width, height), _FILTERS[method], box)) for plane in planes], axis=-1)
  return np.clip(np.rint(resized), 0, np.iinfo(image.dtype).max).astype(image.dtype)


def center(image: np.ndarray, shorter: int, size: int) -> np.ndarray:
  """Resizes the shorter side of [h, w, c] to `shorter` and crops the center: [size, size, c], size <= shorter.

  With `shorter` 0, the whole image is resized to the square. Bicubic; sizes and offsets are rounded as in torchvision.
  """
  if not shorter:
    return resize(image, size, size)
  height, width = image.shape[:2]
  tall, wide = (shorter, shorter * width // height) if height <= width else (shorter * height // width, shorter)
  top, left, y, x = round((tall - size) / 2), round((wide - size) / 2), height / tall, width / wide
  # Only the center is computed. The filter still reads pixels around the box, so this equals resizing, then cropping.
  return resize(image, size, size, box=(left * x, top * y, min((left + size) * x, width), min((top + size) * y, height)))
