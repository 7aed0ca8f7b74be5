"""Duplicate images: exact ones by a digest of their pixels, near ones by their low frequencies."""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from PIL import Image

SIDE, KEPT = 32, 8  # side that images are reduced to; rows and columns of the cosine transform that are kept
DISTANCE = 10  # of 64 bits that may differ
COSINE = 0.95  # minimum similarity of two fingerprints
FLAT = 2.0  # gray levels: images with a smaller standard deviation match nothing
_ROWS, _COLUMNS = 64, 8192  # hashes compared at a time, which fit in a core's cache

_angles = np.pi / SIDE * (np.arange(SIDE) + 0.5) * np.arange(KEPT)[:, None]
_DCT = (np.cos(_angles) * np.sqrt(2 / SIDE)).astype(np.float32)
_DCT[0] /= np.sqrt(np.float32(2))


def fingerprint(image: np.ndarray) -> np.ndarray:
  """Returns the fingerprint of uint8 [h, w, 3]: float32 [64] of norm 1, the lowest frequencies except the mean.

  Zeros for a flat image. The product of two fingerprints is the correlation of the images' low frequencies.
  """
  small = Image.fromarray(image).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
  waves = _DCT @ np.asarray(small, np.float32) @ _DCT.T
  waves[0, 0] = 0.0
  norm = np.linalg.norm(waves)
  return (waves / norm if norm > FLAT * SIDE else np.zeros_like(waves)).ravel()


def hashes(fingerprints: np.ndarray) -> np.ndarray:
  """Returns uint64 [n] of fingerprints [n, 64]: the bits are 1 for values above the median of the image."""
  above = fingerprints > np.median(fingerprints, axis=1, keepdims=True)
  return np.packbits(above, axis=1).view(np.uint64)[:, 0]


def exact(digests: Iterable[Hashable]) -> list[list[int]]:
  """Groups the positions of equal digests; groups have two or more."""
  places: dict[Hashable, list[int]] = {}
  for place, digest in enumerate(digests):
    places.setdefault(digest, []).append(place)
  return [group for group in places.values() if len(group) > 1]


def near(fingerprints: np.ndarray) -> list[list[int]]:
  """Groups the positions of similar fingerprints, float32 [n, 64], and of those linked by others; flat images match none.

  All pairs are compared. Two are similar if their hashes differ in at most DISTANCE bits and their product is at least COSINE.
  """
  shaped = np.flatnonzero(fingerprints.any(axis=1))
  prints = fingerprints[shaped]
  codes = hashes(prints)
  leader = list(range(len(shaped)))

  def find(place: int) -> int:
    while leader[place] != place:
      leader[place] = place = leader[leader[place]]
    return place

  different, count = np.empty((_ROWS, _COLUMNS), np.uint64), np.empty((_ROWS, _COLUMNS), np.uint8)
  for top in range(0, len(codes), _ROWS):
    rows = codes[top : top + _ROWS, None]
    for left in range(top, len(codes), _COLUMNS):
      columns = codes[None, left : left + _COLUMNS]
      part = np.s_[: rows.shape[0], : columns.shape[1]]
      np.bitwise_xor(rows, columns, out=different[part])
      np.bitwise_count(different[part], out=count[part])
      row, column = np.divmod(np.flatnonzero(count[part] <= DISTANCE), columns.shape[1])
      row, column = row + top, column + left
      row, column = row[row < column], column[row < column]
      alike = np.einsum("nk,nk->n", prints[row], prints[column]) >= COSINE
      for one, other in zip(row[alike].tolist(), column[alike].tolist(), strict=True):
        leader[find(other)] = find(one)
  groups = exact(find(place) for place in range(len(leader)))
  return [shaped[group].tolist() for group in groups]


def joined(exactly: Sequence[Sequence[int]], fingerprints: np.ndarray) -> list[list[int]]:
  """Groups similar images that are not all equal. The first of a group of exact duplicates is compared for all of them."""
  others = {group[0]: list(group) for group in exactly}
  copies = {place for group in exactly for place in group[1:]}
  firsts = np.array([place for place in range(len(fingerprints)) if place not in copies], int)
  groups = [[int(firsts[k]) for k in group] for group in near(fingerprints[firsts])] if len(firsts) else []
  return [sorted(place for first in group for place in others.get(first, [first])) for group in groups]
