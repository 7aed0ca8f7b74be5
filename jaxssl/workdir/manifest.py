"""Which images a run is trained on: names and sizes in their order, and what changed since its first step."""

import dataclasses
import datetime
import functools
import hashlib
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxssl.config import parse
from jaxssl.core import UserError, atomic, json_io
from jaxssl.workdir.workdir import Workdir

MAX_BYTES = 2**32  # of names and sizes; a larger file is damaged or an attack


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Manifest:
  """The images of one set in their order. No image has a Python object here."""

  count: int
  kind: str = ""  # describes images that have no names
  names: bytes | None = None  # relative names, each followed by a zero byte; None: the images have no names
  sizes: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))  # int64 [n] in bytes, -1: unknown

  @functools.cached_property
  def digest(self) -> str:
    """The SHA-256 of count, names, sizes and order."""
    return hashlib.sha256(self.packed() or f"{self.count} images of {self.kind}".encode()).hexdigest()

  def packed(self) -> bytes:
    """Returns sizes and names as bytes; empty without names."""
    return b"" if self.names is None else self.sizes.astype("<i8").tobytes() + self.names

  def name(self, k: int) -> str:
    """Returns the name of image `k`; an image without a name has its number."""
    if self.names is None:
      return f"image {k}"
    start, end = self.bounds[k] + 1, self.bounds[k + 1]
    return self.names[start:end].decode("utf-8", "surrogateescape")

  @functools.cached_property
  def bounds(self) -> np.ndarray:
    """int64 [n + 1]: name k lies between bytes bounds[k] and bounds[k + 1], both excluded."""
    return np.append(-1, np.flatnonzero(np.frombuffer(self.names or b"", np.uint8) == 0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Version:
  """The images of a run from one of its steps on, and how they differ from those before. Raises UserError if damaged."""

  step: int  # the state after this step is the last that was trained on the images before
  epoch: int  # the epoch that starts there
  images: int
  sha256: str
  kind: str = ""
  other_sets: Mapping[str, str] = dataclasses.field(default_factory=dict)  # name -> SHA-256: the test set, the k-NN reference
  date: str = ""
  added: int = 0
  removed: int = 0
  renamed: int = 0
  resized: int = 0

  def __post_init__(self) -> None:
    if not all(re.fullmatch("[0-9a-f]{64}", x) for x in (self.sha256, *self.other_sets.values())):
      raise UserError("sha256: expected 64 hexadecimal digits")
    if not all(json_io.count(x) for x in (self.step, self.epoch, self.images)):
      raise UserError("step, epoch, images: expected numbers that are not negative")


def version(manifest: Manifest, other_sets: Mapping[str, Manifest], step: int, epoch: int, **changes: Any) -> Version:
  """Returns the version of a run that begins now. `changes`: numbers of images that were added, removed, renamed, resized."""
  others = {name: other.digest for name, other in other_sets.items()}
  now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
  about: dict[str, Any] = {"images": manifest.count, "sha256": manifest.digest, "kind": manifest.kind, "other_sets": others}
  return Version(step=step, epoch=epoch, date=now, **about, **changes)


def at(versions: Sequence[Version], step: int) -> Version:
  """Returns the version that the state after `step` steps was trained on last."""
  return next((v for v in reversed(versions) if v.step < step), versions[0])


def read(workdir: Workdir) -> list[Version]:
  """Returns the versions of a run's images, oldest first; none for a run that has no manifest. Raises UserError."""
  if not workdir.images.exists():
    return []
  entries = json_io.read(workdir.images).get("versions")
  try:
    if not isinstance(entries, list) or not entries:
      raise UserError("versions: expected a list")
    return [parse.read(Version, entry) for entry in entries]
  except UserError as error:
    raise UserError(f"{workdir.images} cannot be read: {error}") from error


def write(workdir: Workdir, versions: Sequence[Version], manifest: Manifest) -> None:
  """Writes the versions of a run's images, of which the last is `manifest`."""
  names = workdir.image_names(manifest.digest)
  if manifest.names is not None and not names.exists():
    with atomic.replacing(names) as temporary:
      temporary.write_bytes(zlib.compress(manifest.packed(), 1))
  json_io.write(workdir.images, {"versions": [dataclasses.asdict(v) for v in versions]})


def load(workdir: Workdir, version: Version) -> Manifest:
  """Reads the manifest of a version. Raises UserError if its names are missing or damaged."""
  nameless = Manifest(count=version.images, kind=version.kind)
  if nameless.digest == version.sha256:
    return nameless
  path = workdir.image_names(version.sha256)
  try:
    packed = zlib.decompressobj().decompress(path.read_bytes(), MAX_BYTES)
    sizes = np.frombuffer(packed, "<i8", version.images).astype(np.int64)
  except (OSError, zlib.error, ValueError, MemoryError) as error:
    raise UserError(f"{path}, the names of the training images, cannot be read: {error}") from error
  manifest = Manifest(count=version.images, names=packed[sizes.nbytes :], sizes=sizes)
  if manifest.digest != version.sha256 or len(manifest.bounds) != manifest.count + 1:
    raise UserError(f"{path}, the names of the training images, is damaged")
  return manifest
