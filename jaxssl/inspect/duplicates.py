"""Finds exact duplicates by a digest of the pixels, and likely near duplicates by low frequencies, then by details."""

import contextlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxssl.core import heartbeat, image_progress
from jaxssl.data.read_ahead import read_ahead
from jaxssl.inspect.same_photo import Details, excess
from jaxssl.inspect.similar_codes import similar

SIDE, KEPT = 32, 8  # side that images are reduced to; rows and columns of the cosine transform that are kept
CROP = 0.04  # share of each side that the middle lacks
COSINE = 0.8  # minimum similarity of two fingerprints
FLAT = 2.0  # gray levels: images with a smaller standard deviation match nothing
NEAREST = 16  # similar images of each that are compared by their pixels
_PENDING = 2**22  # pairs held at a time, beside NEAREST of each image
_IMAGES = 2**14  # whose details are held at a time


class NearPair(NamedTuple):
  """Positions of two images that may be near duplicates, and how far their correlation exceeds the required one."""

  first: int
  second: int
  excess: float


def fingerprints(image: np.ndarray) -> np.ndarray:
  """Returns two fingerprints of uint8 [h, w, 3], of all of it and of its middle: float16 [2, 64] of norm 1.

  They are the lowest frequencies except the mean; zeros for a flat image. The product of two fingerprints is the correlation of
  the low frequencies. That of the middle resembles that of a crop.
  """
  from scipy import fft

  gray, prints = Image.fromarray(image).convert("L"), []
  for crop in (0, CROP):
    box = (crop * gray.width, crop * gray.height, (1 - crop) * gray.width, (1 - crop) * gray.height)
    small = np.asarray(gray.resize((SIDE, SIDE), Image.Resampling.BOX, box), np.float32)
    waves = np.asarray(fft.dctn(small, norm="ortho"))[:KEPT, :KEPT].ravel()
    waves[0] = 0.0
    norm = np.linalg.norm(waves)
    prints.append(waves / norm if norm > FLAT * SIDE else np.zeros_like(waves))
  return np.stack(prints).astype(np.float16)


def exact(digests: Iterable[Hashable]) -> list[list[int]]:
  """Groups the positions of equal digests; groups have two or more."""
  places: dict[Hashable, list[int]] = {}
  for place, digest in enumerate(digests):
    places.setdefault(digest, []).append(place)
  return [group for group in places.values() if len(group) > 1]


def near(prints: np.ndarray, exactly: Sequence[Sequence[int]], details: Callable[[int], Details]) -> list[NearPair]:
  """Returns the pairs of images that may be near duplicates, by position. `prints`: fingerprints, float16 [n, 2, 64].

  The first of each group of exact duplicates, `exactly`, is compared for all of them.
  `details(position)` reads an image again for what `same_photo.excess` compares.
  """
  with heartbeat(f"comparing {len(prints)} images with each other"):
    compared = np.setdiff1d(np.arange(len(prints)), [place for group in exactly for place in group[1:]])
    pairs = compared[candidates(prints[compared])]
  verified = []
  for block in _blocks(pairs):
    verified += _compare(block, _read(details, np.unique(block).tolist()))
  return sorted(verified)


def _compare(pairs: np.ndarray, details: Mapping[int, Details]) -> list[NearPair]:
  """Returns the pairs of images whose details are the same."""
  values = read_ahead(lambda pair: excess(details[pair[0]], details[pair[1]]), pairs.tolist(), 0, 1024)
  same = []
  with image_progress(len(pairs), unit="pairs of similar images") as progress, contextlib.closing(values):
    for (one, other), value in zip(pairs.tolist(), values, strict=True):
      if value >= 0:
        same.append(NearPair(one, other, value))
      progress.update()
  return same


def candidates(prints: np.ndarray) -> np.ndarray:
  """Returns the pairs of images with similar fingerprints, float16 [n, 2, 64], each once: int64 [m, 2]. Flat images match none.

  Two fingerprints are similar if at most DISTANCE of the signs about their medians differ and their product is at least COSINE.
  Of each image at least its NEAREST most similar ones are kept.
  """
  prints = prints.reshape(-1, prints.shape[-1])
  textured = np.flatnonzero(prints.any(axis=1))
  prints = prints[textured]
  codes = np.packbits(prints > np.median(prints, axis=1, keepdims=True), axis=1).view(np.uint64)[:, 0]
  pairs, cosines, pending = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.float32)], 0
  for row, column in similar(codes):
    cosine = np.einsum("nk,nk->n", prints[row].astype(np.float32), prints[column].astype(np.float32))
    places = textured[np.stack([row, column], axis=1)] // 2
    alike = (cosine >= COSINE) & (places[:, 0] != places[:, 1])
    pairs.append(places[alike])
    cosines.append(cosine[alike])
    pending += len(pairs[-1])
    if pending > _PENDING:
      nearest, similarities = _nearest(np.concatenate(pairs), np.concatenate(cosines))
      pairs, cosines, pending = [nearest], [similarities], 0
  return _nearest(np.concatenate(pairs), np.concatenate(cosines))[0]


def _nearest(pairs: np.ndarray, cosines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Keeps each pair, int [m, 2], once, and only if it is among the NEAREST most similar pairs of one of its two images."""
  key = pairs @ np.array([pairs.max(initial=0) + 1, 1])
  order = np.lexsort((-cosines, key))
  order = order[np.diff(key[order], prepend=-1) > 0]  # the most similar fingerprints of each pair
  pairs, cosines = pairs[order], cosines[order]
  ends, pair = pairs.T.ravel(), np.tile(np.arange(len(pairs)), 2)
  order = np.lexsort((-cosines[pair], ends))
  starts = np.searchsorted(ends[order], ends[order])  # of each image's pairs
  near = np.zeros(len(pairs), bool)
  near[pair[order[np.arange(len(order)) - starts < NEAREST]]] = True
  return pairs[near], cosines[near]


def _blocks(pairs: np.ndarray) -> Iterator[np.ndarray]:
  """Splits pairs into blocks of at most about _IMAGES images, so that few images are in several blocks."""
  if not len(pairs):
    return
  groups = _components(pairs)[np.searchsorted(np.unique(pairs), pairs[:, 0])]
  pairs = pairs[np.lexsort((pairs[:, 0], groups))]
  top, places = 0, set[int]()
  for k, pair in enumerate(pairs.tolist(), 1):
    places.update(pair)
    if len(places) >= _IMAGES or k == len(pairs):
      yield pairs[top:k]
      top, places = k, set()


def _read(details: Callable[[int], Details], places: list[int]) -> dict[int, Details]:
  """Reads images on as many threads as cores, with progress."""
  results = {}
  with image_progress(len(places)) as progress, contextlib.closing(read_ahead(details, places, 0, 1024)) as read:
    for place, result in zip(places, read, strict=True):
      results[place] = result
      progress.update()
  return results


def linked(pairs: Sequence[tuple[int, int]] | np.ndarray) -> list[list[int]]:
  """Groups the positions in pairs: those that are linked, also through others."""
  if not len(pairs):
    return []
  places, groups = np.unique(pairs), _components(np.asarray(pairs, np.int64).reshape(-1, 2))
  return [group.tolist() for group in np.split(places[np.argsort(groups, kind="stable")], np.cumsum(np.bincount(groups))[:-1])]


def _components(pairs: np.ndarray) -> np.ndarray:
  """Returns the number of the group of each position in pairs, int [m, 2], in ascending order of positions."""
  from scipy import sparse

  places, ends = np.unique(pairs, return_inverse=True)
  links = sparse.coo_array((np.ones(len(pairs), bool), tuple(ends.reshape(-1, 2).T)), shape=(len(places), len(places)))
  return sparse.csgraph.connected_components(links, directed=False)[1]
