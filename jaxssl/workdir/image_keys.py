"""Keys by which images of two manifests are matched, as arrays: no image has a Python object."""

import hashlib
import os

import numpy as np

from jaxssl.workdir.manifest import UNKNOWN, Manifest

_ODD = np.uint64(0x9E3779B97F4A7C15)  # spreads small numbers over 64 bits


def name_keys(images: Manifest, rows: np.ndarray | None = None, parts: int = 0, inside: str = "") -> np.ndarray:
  """Hashes names to uint64 [m]; that two of ten million are the same has a probability of 3e-6.

  `rows`: of which images, by default all; `parts`: how many parts of a name count, from its end, in any case; 0: all; `inside`:
  what is written before each.
  """
  names, bounds, hashes, before = images.names or b"", images.bounds.tolist(), bytearray(), os.fsencode(inside)
  for k in range(images.count) if rows is None else rows.tolist():
    name = before + names[bounds[k] + 1 : bounds[k + 1]]
    name = b"/".join(name.lower().split(b"/")[-parts:]) if parts else name
    hashes += hashlib.blake2b(name, digest_size=8).digest()
  return np.frombuffer(hashes, np.uint64)


def combined(names: np.ndarray, fingerprints: np.ndarray) -> np.ndarray:
  """Combines keys of names with fingerprints, uint64 [m]."""
  return names ^ (fingerprints.astype(np.uint64) * _ODD)


def may_be_same(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """Returns whether fingerprints are the same, or one of them is unknown, bool [n]."""
  return (first == second) | (first == UNKNOWN) | (second == UNKNOWN)


def places(old: np.ndarray, new: np.ndarray) -> np.ndarray:
  """Returns the position in `old` of each key of `new`, -1 if it is not there. Of equal keys, the first matches the first."""
  old_order, new_order = np.argsort(old, kind="stable"), np.argsort(new, kind="stable")
  old_keys, new_keys = old[old_order], new[new_order]
  ranks = np.searchsorted(old_keys, new_keys) + np.arange(len(new)) - np.searchsorted(new_keys, new_keys)
  clipped = np.minimum(ranks, len(old) - 1)
  found = (clipped == ranks) & (old_keys[clipped] == new_keys)
  out = np.empty(len(new), np.int64)
  out[new_order] = np.where(found, old_order[clipped], -1)
  return out
