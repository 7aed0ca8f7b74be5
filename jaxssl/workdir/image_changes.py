"""Compares two manifests: which images were added, removed, renamed, or have another size."""

import dataclasses
import hashlib

import numpy as np

from jaxssl.workdir import manifest
from jaxssl.workdir.manifest import UNKNOWN, Manifest, Version
from jaxssl.workdir.workdir import Workdir

_ODD = np.uint64(0x9E3779B97F4A7C15)  # spreads small numbers over 64 bits


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
  none, positions = np.zeros(0, np.int64), np.arange(new.count)
  matched = _are_matched(old, new)
  if matched:
    by_name = old.names is not None
    place = _places(_keys(old), _keys(new)) if by_name else _places(old.fingerprints, new.fingerprints)
    resized = np.flatnonzero((place >= 0) & ~_may_be_same(old.fingerprints[place], new.fingerprints))
  else:
    same_kind = (old.names is None, old.count, old.kind) == (new.names is None, new.count, new.kind)
    resized = np.flatnonzero(~_may_be_same(old.fingerprints, new.fingerprints)) if same_kind else none
    place = positions if same_kind and not len(resized) else np.full(new.count, -1)
  known = place >= 0
  added, removed = np.flatnonzero(~known), np.setdiff1d(np.arange(old.count), place[known])
  if matched and old.names is None:  # at the same position: another image in its place
    resized = np.intersect1d(added, removed)
    added, removed = np.setdiff1d(added, resized), np.setdiff1d(removed, resized)
  renamed = _renamed(old, removed, new, added) if matched else none.reshape(0, 2)
  return ImageChanges(
    old=old,
    new=new,
    before=np.where(np.isin(positions, resized), -1, place).astype(np.int32),
    added=np.setdiff1d(added, renamed[:, 1]) if matched else none,
    removed=np.setdiff1d(removed, renamed[:, 0]) if matched else none,
    renamed=renamed,
    resized=resized,
  )


def changes_since(workdir: Workdir, version: Version, new: Manifest) -> ImageChanges | None:
  """Compares images with those of a version of a run; None if they are the same. Raises UserError for damaged files."""
  if new.digest == version.sha256:
    return None
  return compare(manifest.load(workdir, version), new) or None


def _are_matched(old: Manifest, new: Manifest) -> bool:
  """Returns whether each image has something by which it can be found in the other manifest."""
  return old.identified and new.identified and (old.names is None, old.kind) == (new.names is None, new.kind)


def _may_be_same(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  return (first == second) | (first == UNKNOWN) | (second == UNKNOWN)


def _places(old: np.ndarray, new: np.ndarray) -> np.ndarray:
  """Returns the position in `old` of each key of `new`, -1 if it is not there. Of equal keys, the first matches the first."""
  old_order, new_order = np.argsort(old, kind="stable"), np.argsort(new, kind="stable")
  old_keys, new_keys = old[old_order], new[new_order]
  places = np.searchsorted(old_keys, new_keys) + np.arange(len(new)) - np.searchsorted(new_keys, new_keys)
  clipped = np.minimum(places, len(old) - 1)
  found = (clipped == places) & (old_keys[clipped] == new_keys)
  out = np.empty(len(new), np.int64)
  out[new_order] = np.where(found, old_order[clipped], -1)
  return out


def _keys(images: Manifest, rows: np.ndarray | None = None, base: bool = False) -> np.ndarray:
  """Hashes names to uint64 [m]; that two of ten million are the same has a probability of 3e-6. `base`: without folders."""
  names, bounds, keys = images.names or b"", images.bounds.tolist(), bytearray()
  for k in range(images.count) if rows is None else rows.tolist():
    name = names[bounds[k] + 1 : bounds[k + 1]]
    keys += hashlib.blake2b(name.rpartition(b"/")[2] if base else name, digest_size=8).digest()
  return np.frombuffer(keys, np.uint64)


def _renamed(old: Manifest, removed: np.ndarray, new: Manifest, added: np.ndarray) -> np.ndarray:
  """Pairs removed and added images: those of one name in another folder, then others, if only one of each has a fingerprint.

  Returns positions in `old` and in `new`, int [m, 2].
  """
  pairs = [np.zeros((0, 2), np.int64)]
  for base in (True, False):
    if old.names is None or not (len(removed) and len(added)):
      break
    prints = old.fingerprints[removed], new.fingerprints[added]
    names = [_keys(m, rows, base) if base else np.zeros(len(rows), np.uint64) for m, rows in ((old, removed), (new, added))]
    keys = [name ^ (fingerprint.astype(np.uint64) * _ODD) for name, fingerprint in zip(names, prints, strict=True)]
    (first, first_rows), (second, second_rows) = (
      _unique(key, rows, fingerprint != UNKNOWN) for key, rows, fingerprint in zip(keys, (removed, added), prints, strict=True)
    )
    _, one, other = np.intersect1d(first, second, assume_unique=True, return_indices=True)
    pairs.append(np.stack([first_rows[one], second_rows[other]], axis=1))
    removed, added = np.setdiff1d(removed, pairs[-1][:, 0]), np.setdiff1d(added, pairs[-1][:, 1])
  found = np.concatenate(pairs)
  return found[np.argsort(found[:, 1])]


def _unique(keys: np.ndarray, rows: np.ndarray, usable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the usable keys that are there once, ascending, and their rows."""
  values, places, counts = np.unique(keys[usable], return_index=True, return_counts=True)
  return values[counts == 1], rows[usable][places][counts == 1]


def _of(kind: str) -> str:
  return f" of {kind}" if kind else ""
