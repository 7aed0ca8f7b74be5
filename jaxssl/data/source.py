"""The protocol of image sources, their registry, and subsets."""

import os
import unicodedata
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np

from jaxssl.config.schema import DataConfig
from jaxssl.core import Registry, UserError
from jaxssl.data.file_kinds import Stored
from jaxssl.data.image_io import Decoder


class FailedImage(Exception):
  """An image that cannot be read: its position in the source, and the DecodeError or UnsupportedImage."""

  def __init__(self, image: int, error: UserError):
    super().__init__(image, error)
    self.image, self.error = image, error


class Source(Protocol):
  """Random access to images at positions 0..len - 1, from any thread. Labels are for evaluation only.

  A run notices that its images have changed by what their source offers, each of which is optional: `relative_name` and
  `fingerprints` of each image, and `version` of all of them. Without the latter two it reads a sample.
  """

  name: str
  channels: int  # of every image
  dtype: np.dtype  # of every image: uint8 or uint16
  decoder: Decoder | None = None  # of its images; None: `read` returns `channels` and `dtype` by itself
  classes: tuple[str, ...] = ()  # names; empty without labels
  labels: np.ndarray | None = None  # int32 [n], -1 if unknown
  in_processes: bool = False  # whether it can be pickled, cheaply, for worker processes that fork and read on their own

  def __len__(self) -> int: ...

  def encoded(self, index: int) -> bytes | None:
    """Returns the bytes of the image's file, or None without a file. Raises DecodeError, which names the image."""
    return None

  def read(self, index: int) -> np.ndarray:
    """Returns [h, w, channels] of `dtype`. Raises DecodeError or UnsupportedImage, which name the image."""
    return decoder_of(self).decode(self.encoded(index) or b"", self.describe(index))

  def stored(self, index: int) -> Stored:
    """Returns the image as its file holds it, from which the range of values is decided. Raises as `read` does."""
    return decoder_of(self).stored(self.encoded(index) or b"", self.describe(index))

  def use(self, decoder: Decoder) -> None:
    """Sets `decoder`, `channels` and `dtype`; called when the source is opened, before an image is read."""
    self.decoder, self.channels, self.dtype = decoder, decoder.channels, decoder.dtype

  def describe(self, index: int) -> str:
    """Returns the file name, or "NAME image 17", for messages."""
    return f"{self.name} image {index}"

  def relative_name(self, index: int) -> str | None:
    """Returns a name that no other image has, such as that of a file relative to its folder, with /; None: there are none."""
    return None

  def fingerprints(self, rows: np.ndarray) -> np.ndarray | None:
    """Returns numbers that differ if the content of an image does, int64 [m], -1 if unknown, of the images at `rows`.

    They are the sizes of files in bytes, or hashes of at least 60 bits if there are no names. None: only reading shows changes.
    """
    return None

  def names_at(self, rows: np.ndarray) -> bytes | None:
    """Returns the relative names of the images at `rows`, int [m], in Unicode NFC, each followed by a zero byte.

    None: only `relative_name` has them. A source of millions of images offers this, so that a run starts without a loop.
    """
    return None

  def known_jpeg_size(self, index: int) -> tuple[int, int] | None:
    """Returns what `Decoder.jpeg_size` would of the image's bytes, if that is known without reading them; else None."""
    return None

  def version(self) -> str | None:
    """Returns what identifies all images together, such as the name, version and split of a dataset; None: nothing does."""
    return None


def decoder_of(source: Source) -> Decoder:
  """Returns the decoder of a source's files."""
  return getattr(source, "decoder", None) or Decoder(channels=source.channels, bit_depth=8 * source.dtype.itemsize)


def optional(source: Source, method: str, *arguments: Any) -> Any:
  """Calls one of the methods that identify images; None if the source, which need not inherit from `Source`, lacks it."""
  return getattr(source, method)(*arguments) if hasattr(source, method) else None


def names_of(source: Source, rows: np.ndarray) -> bytes | None:
  """Returns the relative names of images in Unicode NFC, each followed by a zero byte; None if an image has no name."""
  if (names := optional(source, "names_at", rows)) is not None:
    return names
  joined = bytearray()
  for row in rows.tolist():
    name = optional(source, "relative_name", row)
    if name is None:
      return None
    joined += unicodedata.normalize("NFC", name).encode("utf-8", "surrogateescape")
    joined.append(0)
  return bytes(joined)


def name_of(source: Source, index: int) -> str:
  """Returns the name of an image, relative to its folder or zip; that for messages if it has none."""
  return optional(source, "relative_name", index) or source.describe(index).removeprefix(source.name + os.sep)


class Items(Protocol):
  """An object with a length and items, each an image, see `jaxssl.data.items`: a list, a torch Dataset, a Hugging Face one."""

  def __len__(self) -> int: ...

  def __getitem__(self, index: Any, /) -> Any: ...


# A source; an array [n, h, w] or [n, h, w, c] of integers; items; or one of the latter two with labels, numbers or names.
DataInput = np.ndarray | Items | Source | tuple[np.ndarray | Items, Any]
Opener = Callable[[DataConfig], tuple[DataInput, DataInput | None]]  # opens the training images and the test images, if any

O = TypeVar("O", bound=Opener)
SOURCES: Registry[Opener] = Registry("data.source")
FIELDS: dict[str, tuple[str, ...]] = {}  # source -> those of data.path, test_path, list_path and stage that it reads


def register(name: str, fields: tuple[str, ...] = ()) -> Callable[[O], O]:
  """Returns a decorator that registers an opener as data.source=`name`.

  `fields`: which of "path" (then required), "test_path", "list_path" and "stage" it reads; the others must be empty in the
  config.
  """

  def add(opener: O) -> O:
    SOURCES.register(name)(opener)
    FIELDS[name] = fields
    return opener

  return add


def located(source: Source, images: np.ndarray) -> tuple[Source, np.ndarray]:
  """Returns the source that subsets were taken from, and the positions of `images` there, int [m]."""
  while type(source) is Subset:  # subclasses read in their own way
    source, images = source.source, source.indices[images]
  return source, images


def origin_of(source: Source) -> Source:
  """Returns the source that all subsets, also those that substitute images, were taken from."""
  while isinstance(source, Subset):
    source = source.source
  return source


class Subset(Source):
  """The images of `source` at `indices`, int [m], in that order."""

  def __init__(self, source: Source, indices: np.ndarray):
    self.source, self.indices = source, indices
    self.name, self.channels, self.dtype, self.classes = source.name, source.channels, source.dtype, source.classes
    self.decoder = getattr(source, "decoder", None)

  @property
  def labels(self) -> np.ndarray | None:
    """int32 [m]; None if none is known. Read on demand, since TFDS has to read its whole split for them."""
    if self.source.labels is None:
      return None
    labels = self.source.labels[self.indices]
    return labels if (labels >= 0).any() else None

  def __len__(self) -> int:
    return len(self.indices)

  def encoded(self, index: int) -> bytes | None:
    """Returns the bytes of the image's file, or None without a file."""
    return self.source.encoded(int(self.indices[index]))

  def read(self, index: int) -> np.ndarray:
    """Returns [h, w, channels] of `dtype`."""
    return self.source.read(int(self.indices[index]))

  def stored(self, index: int) -> Stored:
    """Returns the image as its file holds it."""
    return self.source.stored(int(self.indices[index]))

  def use(self, decoder: Decoder) -> None:
    """Sets the decoder of `source` too, unless it decodes by itself."""
    if self.decoder:
      self.source.use(decoder)
      super().use(decoder)

  def describe(self, index: int) -> str:
    """Returns the name of the image for messages."""
    return self.source.describe(int(self.indices[index]))

  def relative_name(self, index: int) -> str | None:
    """Returns the name of the image in `source`."""
    return optional(self.source, "relative_name", int(self.indices[index]))

  def names_at(self, rows: np.ndarray) -> bytes | None:
    """Returns the names of the images at `rows`, if `source` offers them."""
    return optional(self.source, "names_at", self.indices[rows])

  def known_jpeg_size(self, index: int) -> tuple[int, int] | None:
    """Returns the size of the image in `source`."""
    return optional(self.source, "known_jpeg_size", int(self.indices[index]))

  def fingerprints(self, rows: np.ndarray) -> np.ndarray | None:
    """Returns the fingerprints of the images at `rows`."""
    return optional(self.source, "fingerprints", self.indices[rows])

  def version(self) -> str | None:
    """Returns the version of `source`; which of its images are used is not a part of it."""
    return optional(self.source, "version")
