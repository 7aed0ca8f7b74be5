"""Bad images: named once, replaced by a neighbor, and never the end of a run unless there are too many."""

import logging
import pathlib
import threading
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from jaxssl.core.errors import UserError
from jaxssl.data.image_io import DecodeError, WrongChannels, center
from jaxssl.data.source import Source, Subset
from jaxssl.workdir.workdir import Workdir

T = TypeVar("T")
_LOOKED_AT = 100  # images, for one of the right kind
_log = logging.getLogger("jaxssl")


class SubstituteUnreadable:
  """A source in which the next readable image, cyclically, takes the place of one that cannot be read.

  A bad image is named once in the log and once in `bad_files.txt` in `workdir`, over restarts too. More than 1% of bad
  images (and more than one) stop the run with UserError. Safe to use from several threads.
  """

  def __init__(self, source: Source, workdir: str | pathlib.Path | None = None):
    self.source = source
    self.name, self.channels, self.dtype = source.name, source.channels, source.dtype
    self._file = None if workdir is None else Workdir(pathlib.Path(workdir)).unreadable
    self._bad: dict[int, str] = {}
    self._lock = threading.Lock()

  @property
  def bad(self) -> set[str]:
    """Names of the images found bad so far by this process."""
    return set(self._bad.values())

  @property
  def classes(self) -> tuple[str, ...]:
    """Class names."""
    return self.source.classes

  @property
  def labels(self) -> np.ndarray | None:
    """int32 [n]; an image known as bad has the label of the one in its place. None without labels."""
    labels = self.source.labels
    if labels is None or not self._bad:
      return labels
    labels = labels.copy()
    for index in tuple(self._bad):
      labels[index] = labels[self._stand_in(index)]
    return labels

  def __len__(self) -> int:
    return len(self.source)

  def read(self, index: int) -> np.ndarray:
    """Gives [h, w, channels] of `dtype`. Raises UserError where too many are bad, or where they differ in channels."""
    return self._good(index, self.source.read)

  def encoded(self, index: int) -> bytes | None:
    """The file's bytes as stored; whether they are an image shows when they are decoded: where they are not, call `read`."""
    return self._good(index, self.source.encoded)

  def describe(self, index: int) -> str:
    """Names the image in a message."""
    return self.source.describe(index)

  def _good(self, index: int, read: Callable[[int], T]) -> T:
    while True:
      stand_in = self._stand_in(index)
      try:
        return read(stand_in)
      except DecodeError as error:
        self._note(stand_in, error)
      except WrongChannels as error:
        raise UserError(f"{error}{self._others()}") from error

  def _others(self) -> str:
    """Says whether the images are mixed: names one that does have as many channels as it should."""
    for index in range(min(len(self), _LOOKED_AT)):
      try:
        self.source.read(index)
      except (DecodeError, WrongChannels):
        continue
      return f", as {self.describe(index)} has: remove or convert one kind"
    return ", which none of the first images has: set it to what they have"

  def _stand_in(self, index: int) -> int:
    """Gives `index` itself, or the next that is not known as bad."""
    for step in range(len(self)):
      if (other := (index + step) % len(self)) not in self._bad:
        return other
    raise UserError(f"{self.name}: none of its {len(self)} images can be read")

  def _note(self, index: int, error: DecodeError) -> None:
    with self._lock:
      if index in self._bad:
        return
      name = self._bad[index] = self.describe(index)
      _log.warning("cannot read %s; another image takes its place", error)
      try:
        self._append(name)
      except OSError as trouble:
        _log.warning("cannot write %s: %s", self._file, trouble)
      if len(self._bad) > max(1, len(self) / 100):
        first = ", ".join(list(self._bad.values())[:3])
        count = f"{len(self._bad)} of {len(self)}"
        raise UserError(f"{self.name}: {count} images cannot be read, more than 1%: mend or remove them, first: {first}")

  def _append(self, name: str) -> None:
    if self._file is None:
      return
    self._file.parent.mkdir(parents=True, exist_ok=True)
    with self._file.open("a+", encoding="utf-8", errors="surrogateescape") as file:
      file.seek(0)
      if name not in file.read().splitlines():
        file.write(name + "\n")


_log = logging.getLogger("jaxssl")


class SkipUnreadable(Subset):
  """Some images of a source. In place of one that cannot be read stands a black one; it is named in the log, and in `bad`.

  `resident_size`: side to which images are cut before all else, as for a store on the devices; 0: they are left as they are.
  """

  def __init__(self, source: Source, indices: np.ndarray, resident_size: int):
    super().__init__(source, indices)
    self.resident_size, self.bad = resident_size, set[int]()

  def read(self, index: int) -> np.ndarray:
    """Gives [h, w, channels] of `dtype`."""
    try:
      image = super().read(index)
    except DecodeError as error:
      self.bad.add(index)
      _log.warning("cannot read %s; it is left out", error)
      return np.zeros((1, 1, self.channels), self.dtype)
    return center(image, self.resident_size, self.resident_size) if self.resident_size else image
