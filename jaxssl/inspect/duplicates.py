"""Finds exact duplicates by a digest of the pixels, and near duplicates by low frequencies."""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from PIL import Image

SIDE, KEPT = 32, 8  # side that images are reduced to; rows and columns of the cosine transform that are kept
DISTANCE = 10  # signs of 64 that may differ
COSINE = 0.95  # minimum similarity of two fingerprints
FLAT = 2.0  # gray levels: images with a smaller standard deviation match nothing
_PAIRS = 2**19  # compared at a time: they fit in a core's cache


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


def exact(digests: Iterable[Hashable]) -> list[list[int]]:
  """Groups the positions of equal digests; groups have two or more."""
  places: dict[Hashable, list[int]] = {}
  for place, digest in enumerate(digests):
    places.setdefault(digest, []).append(place)
  return [group for group in places.values() if len(group) > 1]


def near(fingerprints: np.ndarray, exactly: Sequence[Sequence[int]] = ()) -> list[list[int]]:
  """Groups the positions of similar fingerprints, float32 [n, 64], and of those linked by others; flat images match none.

  All pairs are compared. Two are similar if at most DISTANCE of the signs about their medians differ and their product is at
  least COSINE. The first of each group of exact duplicates, `exactly`, is compared for all of them.
  """
  from scipy import sparse

  copies = [place for group in exactly for place in group[1:]]
  compared = np.setdiff1d(np.flatnonzero(fingerprints.any(axis=1)), copies)
  if not len(compared):
    return []
  prints = fingerprints[compared]
  codes = np.packbits(prints > np.median(prints, axis=1, keepdims=True), axis=1).view(np.uint64)[:, 0]
  links = sparse.lil_array((len(prints), len(prints)), dtype=bool)
  rows = max(_PAIRS // len(prints), 1)
  for top in range(0, len(prints), rows):
    different = np.bitwise_count(codes[top : top + rows, None] ^ codes[top:])
    row, column = np.nonzero(different <= DISTANCE)
    row, column = row + top, column + top
    alike = (row < column) & (np.einsum("nk,nk->n", prints[row], prints[column]) >= COSINE)
    links[row[alike], column[alike]] = True
  _, labels = sparse.csgraph.connected_components(links, directed=False)
  others = {group[0]: group for group in exactly}
  groups = [compared[group].tolist() for group in exact(labels.tolist())]
  return [sorted(place for first in group for place in others.get(first, [first])) for group in groups]
