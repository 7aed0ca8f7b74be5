"""Pictures as arrays, uint8 or uint16: decoded from a file's bytes whatever the format, matched in kind, resized by PIL."""

import io
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from jaxssl.data import arrayfiles
from jaxssl.data.jpeg import decode_plain, plain_size
from jaxssl.types import UserError, one_line

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".npy")
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")  # by content, which need not be what the ending says
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def dtype_of(depth: int) -> np.dtype:
  """Gives the type of pictures of so many bits, 8 or 16."""
  return np.dtype(f"uint{depth}")


class BadPicture(Exception):
  """A picture that cannot be read: the message names it and says why, in one line."""

  def __str__(self) -> str:
    return one_line(super().__str__())


class WrongChannels(UserError):
  """A picture whose channels cannot become those that `data.channels` names: the whole set is of another kind, or mixed."""

  def __init__(self, name: str, found: int, wanted: int):
    super().__init__(f"{name} has {found} channels, but data.channels={wanted}")


def decode(data: bytes, channels: int, name: str, dtype: Any = np.uint8) -> np.ndarray:
  """Decodes a file's first picture, upright, transparent parts on white: [h, w, channels] of `dtype`, uint8 or uint16.

  Grey and colour become each other; of other numbers of channels, .npy and TIFF have all of theirs. Raises BadPicture with
  `name` in the message where the file is not whole or not a picture of a known kind, WrongChannels where it has others.
  """
  if not data:
    raise BadPicture(f"{name}: an empty file")
  usual = channels in (1, 3)
  if usual and dtype == np.uint8 and (size := plain_size(data)) and (pixels := decode_plain(data, channels, size)) is not None:
    return pixels
  try:
    picture = None if usual and not data.startswith(arrayfiles.NPY) else arrayfiles.read_array(data)
    picture = _by_pil(data, channels, dtype) if picture is None else picture
  except UnidentifiedImageError as error:
    raise BadPicture(f"{name}: not a picture of a known format") from error
  except Exception as error:  # PIL raises nearly any type on a damaged file; none of them may end a run
    raise BadPicture(f"{name}: {error}") from error
  return match(picture, channels, dtype, name)


def _by_pil(data: bytes, channels: int, dtype: Any) -> np.ndarray:
  """Decodes a photograph, grey or colour; in 16 bits where `dtype` is and the file has them."""
  image = Image.open(io.BytesIO(data), formats=FORMATS)
  turned = _orientation(image) != 1
  if dtype == np.uint16 and not turned and image.format in ("PNG", "TIFF"):
    deep = arrayfiles.read_sixteen(data)
    if deep is not None:
      return deep
  image.load()
  if turned:
    image = ImageOps.exif_transpose(image)
  if image.mode.startswith(("I", "F")):
    return _sixteen_bits(image)
  return _array(_opaque(image).convert("L" if channels == 1 else "RGB"))


def _orientation(image: Image.Image) -> int:
  """EXIF orientation, 1 (upright) where there is none or it cannot be read."""
  try:
    return image.getexif().get(ExifTags.Base.Orientation, 1)
  except Exception:  # damaged EXIF data says nothing about the picture itself
    return 1


def match(picture: np.ndarray, channels: int, dtype: Any, name: str) -> np.ndarray:
  """Turns [h, w, c], uint8 or uint16, into [h, w, channels] of `dtype`: grey is repeated, colour becomes its luma.

  Raises WrongChannels where neither will do.
  """
  found = picture.shape[-1]
  if found != channels:
    if {found, channels} != {1, 3}:
      raise WrongChannels(name, found, channels)
    picture = np.repeat(picture, 3, axis=-1) if channels == 3 else _luma(picture)
  if picture.dtype == dtype:
    return picture
  wide = picture.astype(np.uint32)
  return (wide * 257 if dtype == np.uint16 else (wide + 128) // 257).astype(dtype)


def _luma(picture: np.ndarray) -> np.ndarray:
  """Makes [h, w, 1] of colours as PIL does."""
  red, green, blue = np.split(picture.astype(np.uint32), 3, axis=-1)
  return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(picture.dtype)


def viewable(picture: np.ndarray) -> np.ndarray:
  """Makes of [h, w, c], uint8 or uint16, what a screen can show: uint8 [h, w, 3].

  The first three channels are red, green and blue; of two, the mean is shown. Of 16 bits, what lies between the darkest and
  the brightest percent of a picture is spread over all of the range, since few instruments use all of theirs.
  """
  picture = picture[..., :3] if picture.shape[-1] != 2 else picture.mean(-1, keepdims=True).astype(picture.dtype)
  if picture.dtype != np.uint8:
    low, high = np.percentile(picture, (1, 99))
    picture = np.clip((picture - low) * (255 / max(high - low, 1)), 0, 255).astype(np.uint8)
  return match(picture, 3, np.uint8, "a picture")


def resize(
  picture: np.ndarray, height: int, width: int, how: str = "bicubic", box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
  """Resizes [h, w, c], uint8 or uint16, with antialiasing, `how` bilinear or bicubic; `box` (left, top, right, bottom)."""
  if picture.dtype == np.uint8 and picture.shape[-1] in (1, 3):
    image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    return _array(image.resize((width, height), _FILTERS[how], box))
  planes = (Image.fromarray(plane) for plane in np.moveaxis(picture, -1, 0).astype(np.float32))
  resized = np.stack([np.asarray(plane.resize((width, height), _FILTERS[how], box)) for plane in planes], axis=-1)
  return np.clip(np.rint(resized), 0, np.iinfo(picture.dtype).max).astype(picture.dtype)


def centre(picture: np.ndarray, shorter: int, size: int) -> np.ndarray:
  """Resizes the shorter side of [h, w, c] to `shorter` and cuts out the middle: [size, size, c], size <= shorter.

  With `shorter` 0 the whole picture is resized to the square. Bicubic; sizes and offsets are rounded as torchvision does.
  """
  if not shorter:
    return resize(picture, size, size)
  height, width = picture.shape[:2]
  tall, wide = (shorter, shorter * width // height) if height <= width else (shorter * height // width, shorter)
  top, left, y, x = round((tall - size) / 2), round((wide - size) / 2), height / tall, width / wide
  # Only the middle is computed: the filter still sees what lies around the box, so this equals resizing all and cutting.
  return resize(picture, size, size, box=(left * x, top * y, min((left + size) * x, width), min((top + size) * y, height)))


def _sixteen_bits(image: Image.Image) -> np.ndarray:
  """Gives uint16 [h, w, 1] of deep grey. Raises ValueError for values beyond 16 bits and for floating point."""
  if image.mode == "F":
    raise ValueError("floating-point pictures have no known range")
  values = np.asarray(image).astype(np.int64)
  if values.min() < 0 or values.max() > 65535:
    raise ValueError("values beyond 16 bits")
  return values.astype(np.uint16)[..., None]


def _opaque(image: Image.Image) -> Image.Image:
  """Lays a picture with transparency on white."""
  if image.mode not in ("LA", "La", "PA", "RGBA", "RGBa") and "transparency" not in image.info:
    return image
  image = image.convert("RGBA")
  return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _array(image: Image.Image) -> np.ndarray:
  """Gives uint8 [h, w, c]."""
  array = np.asarray(image)
  return array[..., None] if array.ndim == 2 else array
