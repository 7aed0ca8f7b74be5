"""Compares two manifests: which images were added, removed, renamed, or have another size."""

import dataclasses
import hashlib

import numpy as np

from jaxssl.workdir import manifest
from jaxssl.workdir.manifest import Manifest, Version
from jaxssl.workdir.workdir import Workdir


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ImageChanges:
  """How the images of `new` differ from those of `old`. An image is the same if its name and its size are."""

  old: Manifest
  new: Manifest
  before: np.ndarray  # int32 [n], the position in `old` of each image of `new`; -1: added, renamed or of another size
  added: np.ndarray  # positions in `new`
  removed: np.ndarray  # positions in `old`
  renamed: np.ndarray  # [m, 2], positions in `old` and in `new` of images that only one other image shares its size with
  resized: np.ndarray  # positions in `new`

  @property
  def counts(self) -> dict[str, int]:
    """The numbers of added, removed, renamed and resized images."""
    return {name: len(getattr(self, name)) for name in ("added", "removed", "renamed", "resized")}

  def __bool__(self) -> bool:
    """Returns whether anything differs, be it the order."""
    return self.old.count != self.new.count or bool((self.before != np.arange(self.new.count)).any())

  def __str__(self) -> str:
    """Returns the numbers of changes and the first of each, in one line."""
    old, new = self.old, self.new
    if old.names is None or new.names is None:
      return f"{new.count} images{_of(new.kind)} instead of {old.count}{_of(old.kind)}"
    firsts = {
      "added": lambda: new.name(self.added[0]),
      "removed": lambda: old.name(self.removed[0]),
      "renamed": lambda: f"{old.name(self.renamed[0, 0])}, now {new.name(self.renamed[0, 1])}",
      "of another size": lambda: new.name(self.resized[0]),
    }
    counts = zip(firsts, self.counts.values(), strict=True)
    parts = [f"{count} {what} (first: {firsts[what]()})" for what, count in counts if count]
    return ", ".join(parts) or f"{new.count} images are the same, but in another order"


def compare(old: Manifest, new: Manifest) -> ImageChanges:
  """Compares the images of a run with those that it was trained on.

  Without names, images are the same if their number and kind are, and otherwise all differ.
  """
  none = np.zeros(0, np.int64)
  if old.names is None or new.names is None:
    same = (old.names, old.count, old.kind) == (new.names, new.count, new.kind)
    before = np.arange(new.count, dtype=np.int32) if same else np.full(new.count, -1, np.int32)
    return ImageChanges(old=old, new=new, before=before, added=none, removed=none, renamed=none.reshape(0, 2), resized=none)
  old_keys, new_keys = _keys(old), _keys(new)
  order = np.argsort(old_keys, kind="stable")
  place = order[np.minimum(np.searchsorted(old_keys[order], new_keys), old.count - 1)]
  known = old_keys[place] == new_keys
  old_sizes, new_sizes = old.sizes[place], new.sizes
  resized = known & (old_sizes != new_sizes) & (old_sizes >= 0) & (new_sizes >= 0)
  added = np.flatnonzero(~known)
  removed = np.setdiff1d(np.arange(old.count), place[known])
  renamed = _renamed(old.sizes[removed], new.sizes[added])
  renamed = np.stack([removed[renamed[0]], added[renamed[1]]], axis=1)
  return ImageChanges(
    old=old,
    new=new,
    before=np.where(known & ~resized, place, -1).astype(np.int32),
    added=np.setdiff1d(added, renamed[:, 1]),
    removed=np.setdiff1d(removed, renamed[:, 0]),
    renamed=renamed[np.argsort(renamed[:, 1])],
    resized=np.flatnonzero(resized),
  )


def changes_since(workdir: Workdir, version: Version, new: Manifest) -> ImageChanges | None:
  """Compares images with those of a version of a run; None if they are the same. Raises UserError for damaged files."""
  if new.digest == version.sha256:
    return None
  return compare(manifest.load(workdir, version), new) or None


def _keys(images: Manifest) -> np.ndarray:
  """Hashes the names to uint64 [n]; that two of ten million are the same has a probability of 3e-6."""
  names, bounds, keys = memoryview(images.names or b""), images.bounds.tolist(), bytearray()
  for k in range(images.count):
    keys += hashlib.blake2b(names[bounds[k] + 1 : bounds[k + 1]], digest_size=8).digest()
  return np.frombuffer(keys, np.uint64)


def _renamed(removed: np.ndarray, added: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Pairs images by size if only one of each has it. Returns positions in both arrays of sizes."""

  def unique(sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, places, counts = np.unique(sizes, return_index=True, return_counts=True)
    once = (counts == 1) & (values >= 0)
    return values[once], places[once]

  (old, old_places), (new, new_places) = unique(removed), unique(added)
  _, first, second = np.intersect1d(old, new, assume_unique=True, return_indices=True)
  return old_places[first], new_places[second]


def _of(kind: str) -> str:
  return f" of {kind}" if kind else ""
