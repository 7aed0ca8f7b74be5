"""Compares two manifests: which images were added, removed, renamed, or have another size."""

import dataclasses

import numpy as np

from jaxssl.workdir import manifest
from jaxssl.workdir.image_keys import combined, may_be_same, name_keys, places
from jaxssl.workdir.manifest import UNKNOWN, Manifest, Version
from jaxssl.workdir.workdir import Workdir


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ImageChanges:
  """How the images of `new` differ from those of `old`. An image is the same if its name and its fingerprint are."""

  old: Manifest
  new: Manifest
  before: np.ndarray  # int32 [n], the position in `old` of each image of `new`; -1: added, renamed or of other content
  added: np.ndarray  # positions in `new`
  removed: np.ndarray  # positions in `old`
  renamed: np.ndarray  # [m, 2], positions in `old` and in `new` of images with the same fingerprint, see `_renamed`
  resized: np.ndarray  # positions in `new` of images of other content, such as files of another size

  @property
  def are_matched(self) -> bool:
    """Whether images were found again by names, or by hashes of all of them; otherwise either none or all have changed."""
    return _are_matched(self.old, self.new)

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
    if (old.count, old.kind) != (new.count, new.kind) and not self.are_matched:
      return f"{new.count} images{_of(new.kind)} instead of {old.count}{_of(old.kind)}"
    firsts = {
      "added": lambda: new.name(self.added[0]),
      "removed": lambda: old.name(self.removed[0]),
      "renamed": lambda: f"{old.name(self.renamed[0, 0])}, now {new.name(self.renamed[0, 1])}",
      "of other content": lambda: new.name(self.resized[0]),
    }
    counts = zip(firsts, self.counts.values(), strict=True)
    parts = [f"{count} {what} (first: {firsts[what]()})" for what, count in counts if count]
    return ", ".join(parts) or f"{new.count} images are the same, but in another order"


def compare(old: Manifest, new: Manifest) -> ImageChanges:
  """Compares the images of a run with those that it was trained on.

  Images without names are matched by their fingerprints if all are known. Otherwise they are the same if their number, kind and
  the fingerprints that both know are; if not, none is matched.
  """
  none, everything = np.zeros(0, np.int64), np.arange(new.count)
  if not _are_matched(old, new):
    same_kind = (old.names is None, old.count, old.kind) == (new.names is None, new.count, new.kind)
    resized = np.flatnonzero(~may_be_same(old.fingerprints, new.fingerprints)) if same_kind else none
    before = everything if same_kind and not len(resized) else np.full(new.count, -1)
    changes: dict[str, np.ndarray] = {"added": none, "removed": none, "renamed": none.reshape(0, 2), "resized": resized}
    return ImageChanges(old=old, new=new, before=before.astype(np.int32), **changes)
  by_name = old.names is not None
  place = places(name_keys(old), name_keys(new)) if by_name else places(old.fingerprints, new.fingerprints)
  added, removed = np.flatnonzero(place < 0), np.setdiff1d(np.arange(old.count), place)
  if by_name:
    resized = np.flatnonzero((place >= 0) & ~may_be_same(old.fingerprints[place], new.fingerprints))
  else:  # at the same position: another image in its place
    resized = np.intersect1d(added, removed)
    added, removed = np.setdiff1d(added, resized), np.setdiff1d(removed, resized)
  renamed = _renamed(old, removed, new, added)
  return ImageChanges(
    old=old,
    new=new,
    before=np.where(np.isin(everything, resized), -1, place).astype(np.int32),
    added=np.setdiff1d(added, renamed[:, 1]),
    removed=np.setdiff1d(removed, renamed[:, 0]),
    renamed=renamed,
    resized=resized,
  )


def changes_since(workdir: Workdir, version: Version, new: Manifest) -> ImageChanges | None:
  """Compares images with those of a version of a run; None if they are the same. Raises UserError for damaged files."""
  if new.digest == version.sha256:
    return None
  return compare(manifest.load(workdir, version), new) or None


def moved(old: tuple[Manifest, Manifest], new: tuple[Manifest, Manifest]) -> list[str]:
  """Returns the names of images that are in the other of two sets than before, also if renamed or of other content."""
  before, after = _joined(*old), _joined(*new)
  changes = compare(before, after)
  pairs = [np.stack([changes.before, np.arange(after.count)], axis=1), changes.renamed]
  if after.names is not None:
    pairs.append(np.stack([places(name_keys(before), name_keys(after, changes.resized)), changes.resized], axis=1))
  places_before, places_after = np.concatenate(pairs).T
  crossed = (places_before >= 0) & ((places_before < old[0].count) != (places_after < new[0].count))
  return [after.name(k) for k in places_after[crossed]]


def _joined(first: Manifest, second: Manifest) -> Manifest:
  names = None if first.names is None or second.names is None else first.names + second.names
  fingerprints = np.concatenate([first.fingerprints, second.fingerprints])
  return Manifest(count=len(fingerprints), kind=first.kind, names=names, fingerprints=fingerprints)


def _are_matched(old: Manifest, new: Manifest) -> bool:
  """Returns whether each image has something by which it can be found in the other manifest."""
  return old.identified and new.identified and (old.names is None, old.kind) == (new.names is None, new.kind)


def _renamed(old: Manifest, removed: np.ndarray, new: Manifest, added: np.ndarray) -> np.ndarray:
  """Pairs removed and added images: those of one name in another folder, then others, if only one of each has a fingerprint.

  Returns positions in `old` and in `new`, int [m, 2].
  """
  pairs = [np.zeros((0, 2), np.int64)]
  for parts in (1, 0) if old.names is not None else ():
    first, first_rows = _unique(old, removed, parts)
    second, second_rows = _unique(new, added, parts)
    _, one, other = np.intersect1d(first, second, assume_unique=True, return_indices=True)
    pairs.append(np.stack([first_rows[one], second_rows[other]], axis=1))
    removed, added = np.setdiff1d(removed, pairs[-1][:, 0]), np.setdiff1d(added, pairs[-1][:, 1])
  found = np.concatenate(pairs)
  return found[np.argsort(found[:, 1])]


def _unique(images: Manifest, rows: np.ndarray, parts: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns the keys that only one of the images at `rows` has, ascending, and the positions of these."""
  fingerprints = images.fingerprints[rows]
  names = name_keys(images, rows, parts) if parts else np.zeros(len(rows), np.uint64)
  values, first, counts = np.unique(
    combined(names, fingerprints)[fingerprints != UNKNOWN], return_index=True, return_counts=True
  )
  return values[counts == 1], rows[fingerprints != UNKNOWN][first][counts == 1]


def _of(kind: str) -> str:
  return f" of {kind}" if kind else ""
