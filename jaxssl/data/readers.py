"""Reads image files of all kinds as they are stored: pixels, orientation, and what is known about their range."""

import io
import math
import re
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from jaxssl.data import tiff
from jaxssl.data.file_kinds import (
  FORMATS,
  JPEG,
  JPEG_2000,
  NPY,
  PNG,
  TIFF,
  Stored,
  UnsupportedImage,
  check_array,
  check_size,
  content,
  other_kind,
)
from jaxssl.data.opencv import opencv

Image.MAX_IMAGE_PIXELS = None  # Pillow's fixed limit of this process; data.max_pixels is checked before pixels are decoded
_PHOTOMETRIC = 262  # a tag of TIFF; 0: zero is white
_PNM = re.compile(rb"P([2356])%b(\d{1,9})%b(\d{1,9})%b(\d{3,9})\s" % ((rb"(?:\s|#[^\n]*\n)+",) * 3))


def read(data: bytes, channels: int, max_pixels: int) -> Stored:
  """Reads a file's first image; transparent parts are white. `channels`: see `tiff.read`; 1: JPEGs are read in grayscale.

  Raises UnsupportedImage, without the file's name, for an image that cannot be read as configured, and almost any other type
  for a damaged file.
  """
  if data.startswith(NPY):
    return _read_npy(data, max_pixels)
  if data.startswith(TIFF) and (stored := tiff.read(data, channels, max_pixels)):
    return stored
  if (header := _PNM.match(data)) and int(header[4]) > 255:
    return _read_pnm(data, header, max_pixels)
  image = _open(data)
  check_size(image.height, image.width, 1, max_pixels)
  if data.startswith(JPEG):
    _check_kind(data)
  if data.startswith(PNG) and data[24] == 16:
    return _read_deep_png(data, image)
  if data.startswith(JPEG_2000):
    return _read_jpeg_2000(data, image)
  if channels == 1 and data.startswith(JPEG) and image.mode == "RGB":
    image.draft("L", image.size)  # the stored luma, as the faster decoder returns it
  stored = from_pil(image)
  return stored._replace(pages=getattr(image, "n_frames", 1) if image.format == "TIFF" else 1)


def from_pil(image: Image.Image) -> Stored:
  """Takes an image that Pillow has opened, of any mode. Raises as `read` does.

  Pillow has converted TIFFs whose zero is white, except those of 16 bits.
  """
  image.load()
  turn = orientation(image)
  if image.mode == "I" or image.mode.startswith("I;"):
    values = np.asarray(image)
    inverted = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0
    return Stored(values.astype(values.dtype.newbyteorder("="))[..., None], zero_is_white=inverted, orientation=turn)
  if image.format == "TIFF" and image.mode in ("LA", "RGBA", "RGBa"):
    _check_transparency(np.asarray(image)[..., -1])
  return Stored(_eight_bits(image), orientation=turn)


def _check_transparency(band: np.ndarray) -> None:
  """Raises UnsupportedImage if most of a band is neither 0 nor 255: some programs tag any fourth band as transparency."""
  if ((band == 0) | (band == 255)).mean() < 0.5:
    problem = "its last band is tagged as transparency, but does not look like it"
    raise UnsupportedImage(f"{problem}; set data.channels to read all bands, or remove the band")


def holds_8_bits(data: bytes) -> bool:
  """Returns whether a file is read with 8 bits whatever its pixels are, by its first bytes."""
  return data.startswith((JPEG, b"GIF8", b"BM", b"RIFF")) or (data.startswith(PNG) and data[24:25] < b"\x10")


def orientation(image: Image.Image) -> int:
  """Returns the EXIF orientation; 1 (upright) if there is none or it is unreadable."""
  try:
    turn = image.getexif().get(ExifTags.Base.Orientation, 1)
  except Exception:  # damaged EXIF data does not make the image unreadable
    return 1
  return turn if turn in range(1, 9) else 1


def _open(data: bytes) -> Image.Image:
  try:
    return Image.open(io.BytesIO(data), formats=FORMATS)
  except UnidentifiedImageError as error:
    _check_kind(data)
    if data.startswith(TIFF) and not tiff.has_damaged_tags(data):
      raise UnsupportedImage("a TIFF of colors or bits that are not supported; convert it to RGB or grayscale") from error
    raise ValueError(content(data) or "not an image of a known format") from error


def _check_kind(data: bytes) -> None:
  """Raises UnsupportedImage for a file that no library here reads."""
  if kind := other_kind(data):
    raise UnsupportedImage(f"{kind} images are not supported; convert them to PNG or JPEG")


def _eight_bits(image: Image.Image) -> np.ndarray:
  """Returns gray [h, w, 1] or color [h, w, 3], uint8, with transparent parts on white."""
  if image.mode in ("F", "I") or image.mode.startswith("I;"):
    kind = "floating-point" if image.mode == "F" else "32-bit"
    raise UnsupportedImage(f"{kind} pixels; scale them to integers, uint8 or uint16, in a PNG or TIFF")
  if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
    image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")  # there is no conversion from La
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
  return np.atleast_3d(np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB")))


def _read_npy(data: bytes, max_pixels: int) -> Stored:
  """Reads integers [h, w] or [h, w, c]; the header is checked before memory is allocated."""
  file = io.BytesIO(data)
  version = np.lib.format.read_magic(file)
  header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
  shape, _, dtype = header(file)
  check_array(shape, dtype, max_pixels)
  array = np.load(io.BytesIO(data), allow_pickle=False)
  return Stored(np.atleast_3d(array))


def _read_pnm(data: bytes, header: re.Match[bytes], max_pixels: int) -> Stored:
  """Reads PGM and PPM of more than 8 bits, whose values Pillow would rescale or reduce."""
  kind, width, height, maximum = map(int, header.groups())
  check_size(height, width, 1, max_pixels)
  shape = height, width, 3 if kind in (3, 6) else 1
  count, body = math.prod(shape), data[header.end() :]
  if maximum > 65535 or not count:
    raise ValueError(f"a PNM of {width} x {height} values up to {maximum}")
  body = body[: len(body) // 2 * 2] if kind > 3 else body
  values = np.frombuffer(body[: 2 * count], ">u2") if kind > 3 else np.array(body.split(maxsplit=count)[:count], np.uint32)
  if values.size < count or values.max() > maximum:
    raise ValueError("a PNM that is truncated or has values above its maximum")
  bits = maximum.bit_length()
  values = np.rint(values * ((2**bits - 1) / maximum)).astype(np.uint16)  # so that its maximum is white
  return Stored(values.reshape(shape), declared=bits)


def _read_deep_png(data: bytes, image: Any) -> Stored:
  """Reads a PNG of 16 bits, of which Pillow would keep 8."""
  transparent, turn = image.info.get("transparency"), orientation(image)
  bits = _significant_bits(data)
  if data[25] == 0:  # gray without alpha
    image.load()
    pixels = np.asarray(image).astype(np.uint16)[..., None]
  else:
    pixels = opencv().imdecode(np.frombuffer(data, np.uint8), opencv().IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
      image.load()  # describes the damage
      raise ValueError("a damaged PNG")
    pixels = np.ascontiguousarray(pixels[..., 2::-1]) if pixels.shape[-1] == 3 else _on_white(pixels)
  if transparent is not None:
    pixels = np.where((pixels == transparent).all(-1, keepdims=True), np.uint16(65535), pixels)
  return Stored(pixels, declared=bits, orientation=turn)


def _on_white(bgra: np.ndarray) -> np.ndarray:
  """Composites uint16 [h, w, 4], blue, green, red and alpha, on white: [h, w, 3], red, green and blue."""
  alpha = bgra[..., 3:].astype(np.uint32)
  return ((bgra[..., 2::-1] * alpha + 65535 * (65535 - alpha) + 32767) // 65535).astype(np.uint16)


def _significant_bits(data: bytes) -> int:
  """Returns the largest number of significant bits (sBIT) that a PNG states; 0 if there is none."""
  at = 8
  while at + 12 <= len(data) and (name := data[at + 4 : at + 8]) not in (b"IDAT", b"IEND"):
    size = int.from_bytes(data[at : at + 4], "big")
    if name == b"sBIT" and size <= 4:
      return max(data[at + 8 : at + 8 + size], default=0) % 16
    at += 12 + size
  return 0


def _read_jpeg_2000(data: bytes, image: Any) -> Stored:
  """Reads JPEG 2000: gray of up to 16 bits, color of 8, or color and a channel that the file declares as transparency."""
  at = data.find(JPEG_2000[1])
  precision = (data[at + 42] & 127) + 1
  if image.mode in ("LA", "RGBA") and b"cdef" not in data[:at]:
    raise UnsupportedImage(f"a JPEG 2000 of {len(image.mode)} channels without a declared meaning; convert it to TIFF")
  if precision > 8 and not image.mode.startswith("I"):
    raise UnsupportedImage(f"a JPEG 2000 of {len(image.getbands())} x {precision} bits; convert it to TIFF")
  image.load()
  if precision <= 8:
    return Stored(_eight_bits(image), orientation=orientation(image))
  values = np.asarray(image).astype(np.uint16)[..., None]
  values >>= max(16 - precision, 0)  # Pillow shifts them to 16 bits
  return Stored(values, declared=precision if precision < 15 else 0)  # 15 and 16 bits are the container of fewer, as a rule
