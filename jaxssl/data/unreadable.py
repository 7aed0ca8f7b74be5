"""Sources that tolerate unreadable images: substituted in training, skipped by `embed` and `neighbors`."""

import pathlib
import threading
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from jaxssl.core import LOG, UserError
from jaxssl.data.file_kinds import DecodeError, UnsupportedImage, WrongChannels
from jaxssl.data.image_io import center
from jaxssl.data.source import FailedImage, Source, Subset, located
from jaxssl.workdir.workdir import Workdir

T = TypeVar("T")
LIMIT = 0.01  # share of unreadable images that a set may have; one image is always allowed
_PROBED = 100  # images tried to find one with the right channels


class SubstituteUnreadable(Subset):
  """All images of a source; reads the next readable image, cyclically, in place of an unreadable one. Thread-safe.

  Only pixels are substituted: labels must not depend on which images this process happened to read. Each unreadable image is
  logged once and appended once to a file in `workdir`, across restarts. More than 1% (and more than one) raise UserError.
  """

  def __init__(self, source: Source, workdir: str | pathlib.Path | None = None):
    super().__init__(source, np.arange(len(source)))
    self._file = None if workdir is None else Workdir(pathlib.Path(workdir)).unreadable
    self.unreadable: dict[int, str] = {}  # names of the images that this process failed to read so far
    self._lock = threading.Lock()

  def read(self, index: int) -> np.ndarray:
    """Returns [h, w, channels] of `dtype`. Raises UserError for too many unreadable images or mixed channels."""
    return self._first_readable(index, super().read)

  def encoded(self, index: int) -> bytes | None:
    """Returns the bytes of the image's file, or None without a file."""
    return self._first_readable(index, super().encoded)

  def _first_readable(self, index: int, read: Callable[[int], T]) -> T:
    while True:
      substitute = int(self.chosen(np.array([index]))[0])
      try:
        return read(substitute)
      except (DecodeError, WrongChannels) as error:
        self.failed(index, substitute, error)

  def chosen(self, images: np.ndarray) -> np.ndarray:
    """Returns the positions in `source` that are read for `images`, int [m]. Raises UserError if all are unreadable."""
    if not self.unreadable:
      return images
    if len(self.unreadable) == len(self):
      raise UserError(f"{self.name}: all {len(self)} images are unreadable")
    images = images.copy()
    for place, image in enumerate(images.tolist()):
      while image in self.unreadable:
        image = (image + 1) % len(self)
      images[place] = image
    return images

  def failed(self, image: int, chosen: int, error: UserError) -> None:
    """Records an image that does not decode. Raises UserError for too many of them and mixed channels, and other errors."""
    if isinstance(error, WrongChannels):
      raise UserError(f"{error}; {self._advice()}") from error
    if not isinstance(error, DecodeError):
      raise error
    self._record(chosen, error)

  def _advice(self) -> str:
    """Returns what to do about an image with the wrong number of channels: the set is mixed, or all of it differs."""
    for index in range(min(len(self), _PROBED)):
      try:
        self.source.read(index)
      except (DecodeError, UnsupportedImage):
        continue
      return f"{self.describe(index)} has the right number: remove or convert one kind"
    return "none of the first images has that number"

  def _record(self, index: int, error: DecodeError) -> None:
    with self._lock:
      if index in self.unreadable:
        return
      name = self.unreadable[index] = self.describe(index)
      LOG.warning("cannot read %s; using the next readable image instead", error)
      if self._file:
        try:
          self._file.parent.mkdir(parents=True, exist_ok=True)
          with self._file.open("a+", encoding="utf-8", errors="surrogateescape") as file:
            file.seek(0)
            if name not in file.read().splitlines():
              file.write(name + "\n")
        except OSError as trouble:
          LOG.warning("cannot write %s: %s", self._file, trouble)
      if len(self.unreadable) > max(1, LIMIT * len(self)):
        examples = ", ".join(list(self.unreadable.values())[:3])
        count = f"{len(self.unreadable)} of {len(self)} images are unreadable (limit: {LIMIT:.0%})"
        raise UserError(f"{self.name}: {count}, e.g. {examples}. Fix or remove them.")


class SkipUnreadable(Subset):
  """A subset that reads a black pixel in place of an unreadable image, logs it, and adds its position to `unreadable`.

  `resident_size`: side that images are resized and center-cropped to first, as with data.placement=device; 0: unchanged.
  """

  def __init__(self, source: Source, indices: np.ndarray, resident_size: int):
    super().__init__(source, indices)
    self.resident_size, self.unreadable = resident_size, set[int]()

  def read(self, index: int) -> np.ndarray:
    """Returns [h, w, channels] of `dtype`."""
    try:
      image = super().read(index)
    except DecodeError as error:
      self.failed(index, int(self.indices[index]), error)
      return np.zeros((1, 1, self.channels), self.dtype)
    return center(image, self.resident_size, self.resident_size) if self.resident_size else image

  def chosen(self, images: np.ndarray) -> np.ndarray:
    """Returns the positions in `source` that are read for `images`, int [m]; -1 for unreadable ones."""
    skipped = np.isin(images, list(self.unreadable))
    return np.where(skipped, -1, self.indices[images])

  def failed(self, image: int, chosen: int, error: UserError) -> None:
    """Logs an image that does not decode. Raises other errors."""
    if not isinstance(error, DecodeError):
      raise error
    self.unreadable.add(image)
    LOG.warning("cannot read %s; skipped", error)


def read_tolerantly(source: Source, images: np.ndarray, read: Callable[[Source, np.ndarray], T]) -> T:
  """Calls `read` with the source of the files and the positions there, int [m], that stand for `images` of `source`.

  `read` raises FailedImage for an image that it cannot read. If `source` substitutes or skips it, `read` is called again; the
  position of a skipped image is -1.
  """
  source, images = located(source, images)
  while True:
    if not isinstance(source, SubstituteUnreadable | SkipUnreadable):
      try:
        return read(source, images)
      except FailedImage as failed:
        raise failed.error from None
    chosen = source.chosen(images)
    origin, positions = located(source.source, chosen)
    try:
      return read(origin, np.where(chosen < 0, -1, positions))
    except FailedImage as failed:
      place = int(np.argmax((positions == failed.image) & (chosen >= 0)))
      source.failed(int(images[place]), int(chosen[place]), failed.error)
