"""Images as arrays, uint8 or uint16: decoded from a file's bytes whatever the format, matched in kind, resized by PIL."""

import io
import math
from typing import Any

import numpy as np
import simplejpeg
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from jaxssl.core.errors import UserError, one_line
from jaxssl.data.resize import opencv

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".npy")
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")  # by content, which need not be what the ending says
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def dtype_of(depth: int) -> np.dtype:
  """Gives the type of images of so many bits, 8 or 16."""
  return np.dtype(f"uint{depth}")


class DecodeError(Exception):
  """An image that cannot be read: the message names it and says why, in one line."""

  def __str__(self) -> str:
    return one_line(super().__str__())


class WrongChannels(UserError):
  """An image whose channels cannot become those that `data.channels` names: the whole set is of another kind, or mixed."""

  def __init__(self, name: str, found: int, wanted: int):
    super().__init__(f"{name} has {found} channels, but data.channels={wanted}")


def decode(data: bytes, channels: int, name: str, dtype: Any = np.uint8) -> np.ndarray:
  """Decodes a file's first image, upright, transparent parts on white: [h, w, channels] of `dtype`, uint8 or uint16.

  Gray and color become each other; of other numbers of channels, .npy and TIFF have all of theirs. Raises BadImage with
  `name` in the message where the file is not whole or not an image of a known kind, WrongChannels where it has others.
  """
  if not data:
    raise DecodeError(f"{name}: an empty file")
  usual = channels in (1, 3)
  if usual and dtype == np.uint8 and (size := plain_size(data)) and (pixels := decode_plain(data, channels, size)) is not None:
    return pixels
  try:
    image = None if usual and not data.startswith(NPY) else read_array(data)
    image = _by_pil(data, channels, dtype) if image is None else image
  except UnidentifiedImageError as error:
    raise DecodeError(f"{name}: not an image of a known format") from error
  except Exception as error:  # PIL raises nearly any type on a damaged file; none of them may end a run
    raise DecodeError(f"{name}: {error}") from error
  return match(image, channels, dtype, name)


def _by_pil(data: bytes, channels: int, dtype: Any) -> np.ndarray:
  """Decodes a photograph, gray or color; in 16 bits where `dtype` is and the file has them."""
  image = Image.open(io.BytesIO(data), formats=FORMATS)
  turned = _orientation(image) != 1
  if dtype == np.uint16 and not turned and image.format in ("PNG", "TIFF"):
    deep = read_sixteen(data)
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
  except Exception:  # damaged EXIF data says nothing about the image itself
    return 1


def match(image: np.ndarray, channels: int, dtype: Any, name: str) -> np.ndarray:
  """Turns [h, w, c], uint8 or uint16, into [h, w, channels] of `dtype`: gray is repeated, color becomes its luma.

  Raises WrongChannels where neither will do.
  """
  found = image.shape[-1]
  if found != channels:
    if {found, channels} != {1, 3}:
      raise WrongChannels(name, found, channels)
    image = np.repeat(image, 3, axis=-1) if channels == 3 else _luma(image)
  if image.dtype == dtype:
    return image
  wide = image.astype(np.uint32)
  return (wide * 257 if dtype == np.uint16 else (wide + 128) // 257).astype(dtype)


def _luma(image: np.ndarray) -> np.ndarray:
  """Makes [h, w, 1] of colors as PIL does."""
  red, green, blue = np.split(image.astype(np.uint32), 3, axis=-1)
  return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(image.dtype)


def viewable(image: np.ndarray) -> np.ndarray:
  """Makes of [h, w, c], uint8 or uint16, what a screen can show: uint8 [h, w, 3].

  The first three channels are red, green and blue; of two, the mean is shown. Of 16 bits, what lies between the darkest and
  the brightest percent of an image is spread over all of the range, since few instruments use all of theirs.
  """
  image = image[..., :3] if image.shape[-1] != 2 else image.mean(-1, keepdims=True).astype(image.dtype)
  if image.dtype != np.uint8:
    low, high = np.percentile(image, (1, 99))
    image = np.clip((image - low) * (255 / max(high - low, 1)), 0, 255).astype(np.uint8)
  return match(image, 3, np.uint8, "an image")


def resize(
  image: np.ndarray, height: int, width: int, how: str = "bicubic", box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
  """Resizes [h, w, c], uint8 or uint16, with antialiasing, `how` bilinear or bicubic; `box` (left, top, right, bottom)."""
  if image.dtype == np.uint8 and image.shape[-1] in (1, 3):
    pil_image = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    return _array(pil_image.resize((width, height), _FILTERS[how], box))
  planes = (Image.fromarray(plane) for plane in np.moveaxis(image, -1, 0).astype(np.float32))
  resized = np.stack([np.asarray(plane.resize((width, height), _FILTERS[how], box)) for plane in planes], axis=-1)
  return np.clip(np.rint(resized), 0, np.iinfo(image.dtype).max).astype(image.dtype)


def center(image: np.ndarray, shorter: int, size: int) -> np.ndarray:
  """Resizes the shorter side of [h, w, c] to `shorter` and cuts out the middle: [size, size, c], size <= shorter.

  With `shorter` 0 the whole image is resized to the square. Bicubic; sizes and offsets are rounded as torchvision does.
  """
  if not shorter:
    return resize(image, size, size)
  height, width = image.shape[:2]
  tall, wide = (shorter, shorter * width // height) if height <= width else (shorter * height // width, shorter)
  top, left, y, x = round((tall - size) / 2), round((wide - size) / 2), height / tall, width / wide
  # Only the middle is computed: the filter still sees what lies around the box, so this equals resizing all and cutting.
  return resize(image, size, size, box=(left * x, top * y, min((left + size) * x, width), min((top + size) * y, height)))


def _sixteen_bits(image: Image.Image) -> np.ndarray:
  """Gives uint16 [h, w, 1] of deep gray. Raises ValueError for values beyond 16 bits and for floating point."""
  if image.mode == "F":
    raise ValueError("floating-point images have no known range")
  values = np.asarray(image).astype(np.int64)
  if values.min() < 0 or values.max() > 65535:
    raise ValueError("values beyond 16 bits")
  return values.astype(np.uint16)[..., None]


def _opaque(image: Image.Image) -> Image.Image:
  """Lays an image with transparency on white."""
  if image.mode not in ("LA", "La", "PA", "RGBA", "RGBa") and "transparency" not in image.info:
    return image
  image = image.convert("RGBA")
  return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _array(image: Image.Image) -> np.ndarray:
  """Gives uint8 [h, w, c]."""
  array = np.asarray(image)
  return array[..., None] if array.ndim == 2 else array


_MAX_BYTES = 2**30  # bytes of an image: the header of a few bytes may ask for any number
NPY, TIFF = b"\x93NUMPY", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # how files begin; the last two: of more than 4 GB


def read_array(data: bytes) -> np.ndarray | None:
  """Reads .npy, [h, w] or [h, w, c], or TIFF, whose channels are samples or pages: [h, w, c]; None for any other file.

  Raises ValueError for what is no image: other dimensions, and another type than uint8 and uint16.
  """
  if data.startswith(NPY):
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.ndim not in (2, 3):
      raise ValueError(f"an array {list(array.shape)}; an image is [h, w] or [h, w, c]")
  elif data.startswith(TIFF):
    array = _tiff(data)
  else:
    return None
  kind = array.dtype.newbyteorder("=")
  if kind not in (np.uint8, np.uint16):
    raise ValueError(f"its values are {array.dtype}; an image's are uint8 or uint16")
  if not array.size:
    raise ValueError(f"an array {list(array.shape)} without a pixel")
  return np.ascontiguousarray(array[..., None] if array.ndim == 2 else array, kind)


def _tiff(data: bytes) -> np.ndarray:
  """Reads a TIFF's first series: what is neither row nor column is the channel."""
  import tifffile

  with tifffile.TiffFile(io.BytesIO(data)) as file:
    if not file.series:
      raise ValueError("a TIFF without a page")
    series = file.series[0]
    if math.prod(series.shape) * 2 > _MAX_BYTES:
      raise ValueError(f"a TIFF {list(series.shape)}, too large for an image")
    array, axes = series.asarray(), series.axes
  kept = [i for i, axis in enumerate(axes) if array.shape[i] > 1 or axis in "YX"]
  axes, array = "".join(axes[i] for i in kept), array.reshape([array.shape[i] for i in kept])
  if len(axes) not in (2, 3) or "Y" not in axes or "X" not in axes:
    raise ValueError(f"a TIFF of axes {axes}; an image has rows (Y), columns (X), and one axis of channels")
  last = [axes.index("Y"), axes.index("X"), *(i for i, axis in enumerate(axes) if axis not in "YX")]
  return array.transpose(last)


def read_sixteen(data: bytes) -> np.ndarray | None:
  """Reads a PNG or TIFF of 16 bits, gray or color: uint16 [h, w, 1 or 3]; None for anything else."""
  cv2 = opencv()
  array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
  if array is None or array.dtype != np.uint16 or array.ndim == 3 and array.shape[-1] != 3:
    return None
  return array[..., None] if array.ndim == 2 else np.ascontiguousarray(array[..., ::-1])


_APP1, _SCAN = 0xE1, 0xDA  # markers: of what EXIF data stand in, and of where the pixels begin
_MODES = ("Gray", "YCbCr", "RGB")
_MAX_FAST_PIXELS = 150_000_000  # pixels; PIL warns of larger images and refuses huge ones


def plain_size(data: bytes) -> tuple[int, int] | None:
  """Height and width of a JPEG that `decode_plain` can take: gray or color, not huge, upright; None for anything else."""
  if data[:3] != b"\xff\xd8\xff" or _exif_orientation(data) != 1:
    return None
  try:
    *size, mode, _ = simplejpeg.decode_jpeg_header(data)
  except ValueError:  # damaged, or of a rare kind: PIL will say
    return None
  height, width = (int(side) for side in size)
  return (height, width) if mode in _MODES and height * width < _MAX_FAST_PIXELS else None


def decode_plain(data: bytes, channels: int, size: tuple[int, int], spare: float = 1) -> np.ndarray | None:
  """Decodes a JPEG of `size`: uint8 [h, w, channels]; None where the file is not whole or anything else is wrong with it.

  Where `spare` is 2 or more, the decoder shrinks the image by as much as it can up to that factor.
  """
  height, width = (math.ceil(side / max(spare, 1)) for side in size)
  try:
    colors = "GRAY" if channels == 1 else "RGB"
    return simplejpeg.decode_jpeg(data, colors, min_height=height, min_width=width, min_factor=2)
  except ValueError:
    return None


def _exif_orientation(data: bytes) -> int:
  """EXIF orientation, 1 (upright) where none is given before the pixels or it cannot be read."""
  at = 2
  while len(data) > at + 3 and data[at] == 0xFF and data[at + 1] != _SCAN:
    length = int.from_bytes(data[at + 2 : at + 4], "big")
    if data[at + 1] == _APP1 and data[at + 4 : at + 10] == b"Exif\0\0":
      try:
        exif = Image.Exif()
        exif.load(data[at + 4 : at + 2 + length])
        return exif.get(ExifTags.Base.Orientation, 1)
      except Exception:  # damaged EXIF data says nothing about the image itself
        return 1
    at += 2 + length
  return 1
