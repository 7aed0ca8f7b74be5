"""The pixels of arrays, torch tensors and PIL images, as a file would hold them."""

import threading

import numpy as np
from PIL import Image

from jaxssl.core import Unavailable, retry
from jaxssl.data.file_kinds import DecodeError, Stored, UnsupportedImage, WrongChannels
from jaxssl.data.image_io import Decoder
from jaxssl.data.item_kinds import PIL, TENSOR, Item

_LOCKS = tuple(threading.Lock() for _ in range(1024))  # PIL loads an image when it is first used, not thread-safely


def stored(item: Item, decoder: Decoder, name: str) -> Stored:
  """Reads an item that is not a file. Raises DecodeError or UnsupportedImage, with `name` in the message.

  A tensor has its channels first. Its floats are from 0 to 1 and become integers of `decoder.bit_depth` bits, or of 8 if that
  is undecided.
  """
  if item.kind == PIL:
    return _of_pil(item.image, decoder, name)
  pixels = _values(item, name)
  if item.kind == TENSOR and pixels.dtype.kind == "f":
    pixels = _integers(pixels, decoder.bit_depth or 8, name)
  return decoder.array(np.moveaxis(pixels, 0, -1) if item.kind == TENSOR and pixels.ndim == 3 else pixels, name)


def converted(item: Item, decoder: Decoder, name: str) -> np.ndarray:
  """Returns [h, w, channels] of the decoder's type. Raises as `stored` does."""
  try:
    return decoder.convert(stored(item, decoder, name), name)
  except WrongChannels as error:
    if item.kind == PIL:
      raise
    shape, tensor = list(item.image.shape), item.kind == TENSOR
    axes, other = ("[c, h, w]", shape[-1]) if tensor else ("[h, w, c]", shape[0])
    if other in ((1, 3) if decoder.channels in (1, 3) else (decoder.channels,)):
      where, remedy = ("last", "x.permute(2, 0, 1)") if tensor else ("first", "x.transpose(1, 2, 0)")
      problem = f"{item.kind} {shape} with its channels {where}; expected {axes}, e.g. {remedy}"
      raise UnsupportedImage(f"{name}: {problem}") from None
    raise WrongChannels(f"{error} ({item.kind} {shape} is read as {axes})") from None


def loses_bits(item: Item, decoder: Decoder) -> bool:
  """Returns whether an item has floats that are finer than the 8 bits as which they are read."""
  if item.kind != TENSOR or decoder.bit_depth > 8 or not item.image.is_floating_point():
    return False
  levels = 255 * _values(item, "")
  return bool((abs(levels - np.rint(levels)) > 0.1).any())  # half precision is off by 0.06


def _of_pil(image: Image.Image, decoder: Decoder, name: str) -> Stored:
  with _LOCKS[id(image) // 64 % len(_LOCKS)]:
    if getattr(image, "tile", None) and getattr(image, "fp", None) is None:  # PIL's own error has no text
      raise DecodeError(f"{name}: it was closed before its pixels were read; call load() before")
    return decoder.opened(image, name)


def _values(item: Item, name: str) -> np.ndarray:
  """Returns the values of an array or a tensor, floats of a tensor as float32."""
  image = item.image
  try:
    if item.kind == TENSOR:
      image = image.detach().cpu()
      image = (image.float() if image.is_floating_point() else image).numpy()
    values = retry.call(f"reading {name}", np.asarray, image)
  except Unavailable:
    raise
  except Exception as error:  # an array may be read from a file only now
    raise DecodeError(f"{name}: {type(error).__name__}: {error}") from error
  return values.astype(values.dtype.newbyteorder("="), copy=False)


def _integers(floats: np.ndarray, bits: int, name: str) -> np.ndarray:
  """Scales floats from 0 to 1 to integers of so many bits. Raises UnsupportedImage for others."""
  scaled = np.rint(floats * (2**bits - 1))
  low, high = (float(x) for x in (scaled.min(initial=0), scaled.max(initial=0)))
  if not 0 <= low <= high <= 2**bits - 1:  # also if there are NaN
    low, high = float(floats.min()), float(floats.max())
    problem = "leave out Normalize" if low < 0 else "divide by 255" if 1 < high <= 255 else "scale them"
    raise UnsupportedImage(f"{name}: a torch tensor of floats from {low:.4g} to {high:.4g}; expected 0 to 1: {problem}")
  return scaled.astype(np.uint8 if bits == 8 else np.uint16)
