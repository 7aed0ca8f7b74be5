"""Finds the pairs of 64-bit codes that differ in few bits: among few codes by comparing all, among many by bands of bits."""

import itertools
from collections.abc import Iterator

import numpy as np

from jaxssl.core import LOG

DISTANCE = 14  # bits of 64 that may differ
MANY = 100_000  # codes (two of each image) from which on not all pairs are compared
BAND, FLIPS = 16, 3  # bits of a band; bits of it that may differ
_BLOCK = 2**17  # pairs compared at a time: they fit in a core's cache
_BUDGET = 10**11  # pairs compared in all by bands: some minutes on one core

Pairs = tuple[np.ndarray, np.ndarray]


def similar(codes: np.ndarray) -> Iterator[Pairs]:
  """Yields the pairs of uint64 codes [n] of which at most DISTANCE bits differ, as positions: two of int64 [m]."""
  return all_pairs(codes) if len(codes) < MANY else banded(codes)


def all_pairs(codes: np.ndarray) -> Iterator[Pairs]:
  """Compares all pairs; yields each similar one once."""
  rows = max(_BLOCK // max(len(codes), 1), 1)
  for top in range(0, len(codes), rows):
    different = np.bitwise_count(codes[top : top + rows, None] ^ codes[top:])
    row, column = np.nonzero(different <= DISTANCE)
    upper = row < column
    yield row[upper] + top, column[upper] + top


def banded(codes: np.ndarray, budget: int = _BUDGET) -> Iterator[Pairs]:
  """Compares only codes that agree, up to FLIPS bits, in one of the four bands of BAND bits; may yield a pair repeatedly.

  This is multi-index hashing (Norouzi et al., arXiv 1307.2982). It finds every similar pair: if more than FLIPS bits differed
  in each of the four bands, 16 would differ in all. Of random codes it compares one pair in 24. If codes are so alike that it
  would compare more than `budget` pairs, each is compared with the first few of a band only, which is logged.
  """
  masks = [sum(1 << bit for bit in bits) for n in range(FLIPS + 1) for bits in itertools.combinations(range(BAND), n)]
  bands = [_Band(codes, shift) for shift in range(0, 64, BAND)]
  most = len(codes)
  while most > 1 and sum(band.work(mask, most) for band in bands for mask in masks) > budget:
    most //= 2
  if most < len(codes):
    LOG.info("so many images look alike that each is compared with at most %d of similar ones at a time", most)
  for band, mask in itertools.product(bands, masks):
    yield from band.pairs(mask, most)


class _Band:
  """The codes sorted by the BAND bits from bit `shift` on, their key."""

  def __init__(self, codes: np.ndarray, shift: int):
    keys = (codes >> np.uint64(shift)).astype(np.uint16).astype(np.int64)
    self.order = np.lexsort((codes, keys))
    self.codes, self.keys = codes[self.order], keys[self.order]
    self.starts = np.searchsorted(self.keys, np.arange(2**BAND + 1))  # of each key

  def work(self, mask: int, most: int) -> int:
    """Returns the number of pairs that `pairs` compares, about."""
    sizes = np.diff(self.starts)
    keys = np.flatnonzero(sizes)
    keys = keys[keys <= keys ^ mask]
    return int(sizes[keys] @ np.minimum(sizes[keys ^ mask], most))

  def pairs(self, mask: int, most: int) -> Iterator[Pairs]:
    """Yields the similar pairs whose keys differ by `mask`, each code compared with at most `most` others."""
    first = self.starts[self.keys ^ mask] if mask else np.arange(1, len(self.codes) + 1)
    counts = np.minimum(self.starts[(self.keys ^ mask) + 1] - first, most) * (self.keys <= self.keys ^ mask)
    ends = np.cumsum(counts)
    cuts = np.searchsorted(ends, np.arange(0, ends[-1], _BLOCK), side="right") if len(ends) else ()
    for top, bottom in itertools.pairwise([*np.unique(cuts), len(ends)]):
      count = counts[top:bottom]
      row = np.repeat(np.arange(top, bottom), count)
      column = np.arange(len(row)) + np.repeat(first[top:bottom] - ends[top:bottom] + count + ends[top] - count[0], count)
      similar = np.bitwise_count(self.codes[row] ^ self.codes[column]) <= DISTANCE
      one, other = self.order[row[similar]], self.order[column[similar]]
      yield np.minimum(one, other), np.maximum(one, other)
