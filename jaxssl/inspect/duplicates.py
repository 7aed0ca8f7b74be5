"""Finds exact duplicates by a digest of the pixels, and near duplicates by low frequencies."""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from PIL import Image

SIDE, KEPT = 32, 8  # side that images are reduced to; rows and columns of the cosine transform that are kept
DISTANCE = 10  # of 64 bits that may differ
COSINE = 0.95  # minimum similarity of two fingerprints
FLAT = 2.0  # gray levels: images with a smaller standard deviation match nothing
_PAIRS = 2**19  # hashes compared at a time, which fit in a core's cache


def fingerprint(image: np.ndarray) -> np.ndarray:
  """Returns the fingerprint of uint8 [h, w, 3]: float32 [64] of norm 1, the lowest frequencies except the mean.

  Zeros for a flat image. The product of two fingerprints is the correlation of the images' low frequencies.
  """
  from scipy import fft

  small = Image.fromarray(image).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
  waves = np.asarray(fft.dctn(np.asarray(small, np.float32), norm="ortho"))[:KEPT, :KEPT].ravel()
  waves[0] = 0.0
  norm = np.linalg.norm(waves)
  return waves / norm if norm > FLAT * SIDE else np.zeros_like(waves)


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
  from scipy import sparse

  shaped = np.flatnonzero(fingerprints.any(axis=1))
  prints = fingerprints[shaped]
  codes, count = hashes(prints), len(prints)
  links = sparse.lil_array((count, count), dtype=bool)
  rows = max(_PAIRS // max(count, 1), 1)
  for top in range(0, count, rows):
    different = np.bitwise_count(codes[top : top + rows, None] ^ codes[top:])
    row, column = np.divmod(np.flatnonzero(different <= DISTANCE), count - top)
    row, column = row + top, column + top
    alike = (row < column) & (np.einsum("nk,nk->n", prints[row], prints[column]) >= COSINE)
    links[row[alike], column[alike]] = True
  _, labels = sparse.csgraph.connected_components(links, directed=False) if count else (0, shaped)
  return [shaped[group].tolist() for group in exact(labels.tolist())]


def joined(exactly: Sequence[Sequence[int]], fingerprints: np.ndarray) -> list[list[int]]:
  """Groups similar images that are not all equal. The first of a group of exact duplicates is compared for all of them."""
  others = {group[0]: group for group in exactly}
  copies = [place for group in exactly for place in group[1:]]
  firsts = np.delete(np.arange(len(fingerprints)), copies)
  groups = [firsts[group].tolist() for group in near(fingerprints[firsts])]
  return [sorted(place for first in group for place in others.get(first, [first])) for group in groups]
