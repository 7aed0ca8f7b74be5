"""Pictures as uint8 arrays: decoded from a file's bytes whatever the format, matched in channels, resized through PIL."""

import io

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from jaxssl.data.jpeg import decode_plain, plain_size

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")  # by content, which need not be what the ending says
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class BadPicture(Exception):
  """A picture that cannot be read: the message names it and says why."""


def decode(data: bytes, channels: int, name: str) -> np.ndarray:
  """Decodes a file's first picture, upright, transparent parts on white: uint8 [h, w, channels], channels 1 or 3.

  Raises BadPicture with `name` in the message where the file is not whole or not a picture of a known kind.
  """
  size = plain_size(data)
  if size and (pixels := decode_plain(data, channels, size)) is not None:
    return pixels
  try:
    image = Image.open(io.BytesIO(data), formats=_FORMATS)
    image.load()
    if _orientation(image) != 1:
      image = ImageOps.exif_transpose(image)
    return _array(_opaque(_eight_bits(image)).convert("L" if channels == 1 else "RGB"))
  except UnidentifiedImageError as error:
    raise BadPicture(f"{name}: not a picture of a known format") from error
  except Exception as error:  # PIL raises nearly any type on a damaged file; none of them may end a run
    raise BadPicture(f"{name}: {error}") from error


def _orientation(image: Image.Image) -> int:
  """EXIF orientation, 1 (upright) where there is none or it cannot be read."""
  try:
    return image.getexif().get(ExifTags.Base.Orientation, 1)
  except Exception:  # damaged EXIF data says nothing about the picture itself
    return 1


def match_channels(picture: np.ndarray, channels: int) -> np.ndarray:
  """Turns uint8 [h, w, 1 or 3] into uint8 [h, w, channels]: grey is repeated, colour becomes its luma."""
  if picture.shape[-1] == channels:
    return picture
  return np.repeat(picture, 3, axis=-1) if channels == 3 else _array(Image.fromarray(picture).convert("L"))


def resize(
  picture: np.ndarray, height: int, width: int, how: str = "bicubic", box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
  """Resizes uint8 [h, w, c] with antialiasing, `how` bilinear or bicubic; `box` (left, top, right, bottom) in pixels."""
  image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
  return _array(image.resize((width, height), _FILTERS[how], box))


def centre(picture: np.ndarray, shorter: int, size: int) -> np.ndarray:
  """Resizes the shorter side of uint8 [h, w, c] to `shorter` and cuts out the middle: uint8 [size, size, c], size <= shorter.

  With `shorter` 0 the whole picture is resized to the square. Bicubic; sizes and offsets are rounded as torchvision does.
  """
  if not shorter:
    return resize(picture, size, size)
  height, width = picture.shape[:2]
  tall, wide = (shorter, shorter * width // height) if height <= width else (shorter * height // width, shorter)
  top, left, y, x = round((tall - size) / 2), round((wide - size) / 2), height / tall, width / wide
  # Only the middle is computed: the filter still sees what lies around the box, so this equals resizing all and cutting.
  return resize(picture, size, size, box=(left * x, top * y, min((left + size) * x, width), min((top + size) * y, height)))


def _eight_bits(image: Image.Image) -> Image.Image:
  """Scales 16-bit grey to 8 bits. Raises ValueError for values beyond 16 bits and for floating point."""
  if image.mode == "F":
    raise ValueError("floating-point pictures have no known range")
  if not image.mode.startswith("I"):
    return image
  values = np.asarray(image).astype(np.int64)
  if values.min() < 0 or values.max() > 65535:
    raise ValueError("values beyond 16 bits")
  return Image.fromarray(((values + 128) // 257).astype(np.uint8))


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
