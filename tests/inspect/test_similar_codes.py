"""Comparing by bands finds the same pairs as comparing all, much faster."""

import time

import numpy as np
import pytest

from jaxssl.inspect import similar_codes


def pairs_of(found):
  """Returns the set of pairs, and their number with repetition."""
  pairs = [pair for row, column in found for pair in zip(row.tolist(), column.tolist(), strict=True)]
  return set(pairs), len(pairs)


def flipped(rng, codes, bits):
  """Flips `bits` random bits of each code."""
  places = np.argsort(rng.random((len(codes), 64)), axis=1)[:, :bits].astype(np.uint64)
  return codes ^ np.bitwise_or.reduce(np.uint64(1) << places, axis=1)


def test_bands_find_the_same_pairs_as_all_comparisons():
  rng = np.random.default_rng(0)
  codes = rng.integers(0, 2**64, 1500, dtype=np.uint64)
  clustered = np.concatenate([flipped(rng, codes[:3], bits) for bits in range(5) for _ in range(20)])
  codes = np.concatenate([codes, *(flipped(rng, codes[10 * bits : 10 * bits + 10], bits) for bits in range(17)), clustered])
  expected, number = pairs_of(similar_codes.all_pairs(codes))
  assert number == len(expected) > 10 * (similar_codes.DISTANCE + 1)
  assert pairs_of(similar_codes.banded(codes))[0] == expected
  distances = [int(np.bitwise_count(codes[one] ^ codes[other])) for one, other in expected]
  assert max(distances) == similar_codes.DISTANCE and all(one < other for one, other in expected)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_few_codes(number):
  codes = np.zeros(number, np.uint64)
  for way in (similar_codes.all_pairs, similar_codes.banded):
    assert pairs_of(way(codes))[0] == ({(0, 1)} if number == 2 else set())


def test_many_codes_are_compared_by_bands(monkeypatch):
  monkeypatch.setattr(similar_codes, "MANY", 3)
  monkeypatch.setattr(similar_codes, "all_pairs", lambda codes: iter(["all"]))
  monkeypatch.setattr(similar_codes, "banded", lambda codes: iter(["banded"]))
  assert [next(similar_codes.similar(np.zeros(n, np.uint64))) for n in (2, 3)] == ["all", "banded"]


def test_comparisons_of_equal_codes_are_limited_and_logged(caplog, monkeypatch):
  monkeypatch.setattr(similar_codes.LOG, "propagate", True)
  caplog.set_level("INFO")
  codes = np.full(500, 12345, np.uint64)
  found, number = pairs_of(similar_codes.banded(codes, budget=20_000))
  assert 500 < len(found) <= number < 20_000
  assert "each is compared with at most" in caplog.text
  assert set(range(500)) == {place for pair in found for place in pair}


@pytest.mark.slow
def test_fifty_thousand_random_images_take_seconds():
  codes = np.random.default_rng(0).integers(0, 2**64, similar_codes.MANY, dtype=np.uint64)
  start = time.process_time()
  assert pairs_of(similar_codes.similar(codes))[1] > 0
  assert time.process_time() - start < 60
