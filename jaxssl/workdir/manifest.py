"""Which images a run is trained on: their names and fingerprints in order, and what changed since its first step."""

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

MAX_BYTES = 2**32  # of names and fingerprints; a larger file is damaged or an attack
MAX_NAME = 4096 + 1 + 8  # bytes of one image
UNKNOWN = -1  # a fingerprint, which may be that of any image


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Manifest:
  """The images of one set in their order. No image has a Python object here."""

  count: int
  kind: str = ""  # describes images that have no names; empty if they have
  names: bytes | None = None  # relative names, each followed by a zero byte; None: the images have no names
  fingerprints: np.ndarray  # int64 [n] of their content: sizes of files, or hashes; or UNKNOWN

  @functools.cached_property
  def digest(self) -> str:
    """The SHA-256 of count, kind, names, fingerprints and order."""
    parts = hashlib.sha256(b"" if self.names is not None else f"{self.count} images of {self.kind}".encode())
    for part in self.packed():
      parts.update(part)
    return parts.hexdigest()

  def packed(self) -> list[bytes]:
    """Returns fingerprints and names as bytes; nothing if all are unknown."""
    fingerprints = self.fingerprints.astype("<i8").tobytes()
    if self.names is None:
      return [fingerprints] if (self.fingerprints != UNKNOWN).any() else []
    return [fingerprints, self.names]

  @property
  def identified(self) -> bool:
    """Whether each image can be found again in another order: by its name, or by a hash of its content."""
    known = self.fingerprints != UNKNOWN if self.fingerprints[0] != UNKNOWN else np.zeros(1, bool)
    return self.names is not None or bool(known.all())

  @property
  def is_versioned(self) -> bool:
    """Whether `kind` begins with a version, which identifies all images together, and not only with their type."""
    return ", " in self.kind

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
  resized: int = 0  # or otherwise of other content
  held_out: int = 0  # images of the test set, if evals.holdout drew it

  def __post_init__(self) -> None:
    if not all(re.fullmatch("[0-9a-f]{64}", x) for x in (self.sha256, *self.other_sets.values())):
      raise UserError("sha256: expected 64 hexadecimal digits")
    if not all(json_io.count(x) for x in (self.step, self.epoch, self.images, self.held_out)):
      raise UserError("step, epoch, images, held_out: expected numbers that are not negative")
    if not self.images:
      raise UserError("images=0: expected at least one")


def version(manifest: Manifest, other_sets: Mapping[str, Manifest], step: int, epoch: int, **numbers: Any) -> Version:
  """Returns the version of a run that begins now. `numbers`: of images that were added, removed, renamed, resized, held out."""
  others = {name: other.digest for name, other in other_sets.items()}
  now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
  about: dict[str, Any] = {"images": manifest.count, "sha256": manifest.digest, "kind": manifest.kind, "other_sets": others}
  return Version(step=step, epoch=epoch, date=now, **about, **numbers)


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
    versions = [parse.read(Version, entry) for entry in entries]
    steps = [v.step for v in versions]
    if steps[0] or versions[0].epoch or any(np.diff([v.epoch for v in versions]) < 0) or sorted(set(steps)) != steps:
      raise UserError("step, epoch: expected 0 first, then growing numbers")
    return versions
  except UserError as error:
    raise UserError(f"{workdir.images} cannot be read: {error}") from error


def write(workdir: Workdir, versions: Sequence[Version], *manifests: Manifest) -> None:
  """Writes the versions of a run's images, and the manifests of the last one; deletes lists that no version needs any more."""
  for manifest in manifests:
    path = workdir.image_names(manifest.digest)
    if manifest.packed() and not path.exists():
      with atomic.replacing(path) as temporary:
        temporary.write_bytes(zlib.compress(b"".join(manifest.packed()), 1))
  json_io.write(workdir.images, {"versions": [dataclasses.asdict(v) for v in versions]})
  needed = {workdir.image_names(sha256) for v in versions for sha256 in (v.sha256, *v.other_sets.values())}
  for path in workdir.all_image_names() - needed:
    path.unlink(missing_ok=True)


def load(workdir: Workdir, version: Version, held_out: bool = False) -> Manifest:
  """Reads the manifest of a version, or that of its held-out images. Raises UserError if it is missing or damaged."""
  count, about = (version.held_out, "held-out") if held_out else (version.images, "training")
  sha256 = version.other_sets.get("test", "") if held_out else version.sha256
  path, about = workdir.image_names(sha256), f"the list of the {about} images,"
  remedy = "restore it, or use another --workdir"
  try:
    if hashlib.sha256(f"{count} images of {version.kind}".encode()).hexdigest() == sha256:
      return Manifest(count=count, kind=version.kind, fingerprints=np.broadcast_to(np.int64(UNKNOWN), count))
    packed = zlib.decompressobj().decompress(path.read_bytes(), min(MAX_BYTES, count * MAX_NAME + 1))
    fingerprints = np.frombuffer(packed, "<i8", count).astype(np.int64)
    names = None if version.kind else packed[fingerprints.nbytes :]
    manifest = Manifest(count=count, kind=version.kind, names=names, fingerprints=fingerprints)
    damaged = manifest.digest != sha256 or (names is not None and len(manifest.bounds) != count + 1)
  except (OSError, zlib.error, ValueError, MemoryError, OverflowError) as error:
    raise UserError(f"{path}, {about} cannot be read: {getattr(error, 'strerror', None) or error}; {remedy}") from error
  if damaged:
    raise UserError(f"{path}, {about} is damaged; {remedy}")
  return manifest
