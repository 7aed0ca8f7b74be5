"""The order of images is a permutation, a function of seed and epoch only."""

import itertools
import tracemalloc

import numpy as np
import pytest

from jaxssl.core import UserError
from jaxssl.data import sampler
from jaxssl.data.sampler import epoch_plan, shuffled

KEYS = np.random.default_rng(0).integers(0, 2**64, (4000, sampler.ROUNDS), np.uint64)


@pytest.mark.parametrize("n,b", [(100, 10), (103, 10), (10, 10), (7, 1)])
def test_every_image_occurs_at_most_once(n, b):
  index, partner = epoch_plan(3, 5, n, b)
  assert index.shape == partner.shape == (n // b, b) and index.dtype == partner.dtype == np.int32
  assert len(set(index.flat)) == index.size and index.min() >= 0 and index.max() < n
  assert (index == partner).all()


def test_every_epoch_and_seed_has_its_own_order():
  orders = [epoch_plan(seed, epoch, 50, 10)[0] for seed in (0, 1, -1) for epoch in range(4)]
  again = [epoch_plan(seed, epoch, 50, 10)[0] for seed in (0, 1, -1) for epoch in range(4)]
  assert all((a == b).all() for a, b in zip(orders, again, strict=True))
  assert all((a != b).any() for a, b in itertools.combinations(orders, 2))


def test_shuffling_is_uniform():
  first = np.array([epoch_plan(0, epoch, 5, 5)[0][0] for epoch in range(2000)])
  counts = np.array([np.bincount(first[:, place], minlength=5) for place in range(5)])
  assert abs(counts - 400).max() < 5 * np.sqrt(2000 * 0.2 * 0.8)


def test_partners_are_gathered():
  partners = np.random.default_rng(0).integers(0, 40, 40)
  index, partner = epoch_plan(1, 2, 40, 8, partners.astype(np.int32).__getitem__)
  assert (index == epoch_plan(1, 2, 40, 8)[0]).all()
  assert (partner == partners[index]).all() and partner.dtype == np.int32


def test_own_columns_are_those_of_the_whole_batches(monkeypatch):
  for large in (sampler.LARGE, 0):  # 0: the order of very many images
    monkeypatch.setattr(sampler, "LARGE", large)
    monkeypatch.setattr(sampler, "_CHUNK", 100)
    whole, _ = epoch_plan(3, 1, 103, 8)
    parts = [epoch_plan(3, 1, 103, 8, own=slice(first, first + 2))[0] for first in range(0, 8, 2)]
    assert (np.concatenate(parts, axis=1) == whole).all() and whole.dtype == parts[0].dtype == np.int32


@pytest.mark.parametrize("n", [2, 3, 50, 1000, 65_537])
def test_the_order_of_very_many_images_is_a_permutation(n):
  orders = [shuffled(np.arange(n, dtype=np.uint64), n, keys) for keys in KEYS[:2]]
  assert all((np.sort(order) == np.arange(n)).all() for order in orders)
  assert n < 50 or np.mean(orders[0] == orders[1]) < 0.1


def test_the_order_of_very_many_images_is_uniform():
  """Counts, over many keys, which pairs follow each other and where images land, as for the shuffle of few images."""
  n, count = 30, 4000
  orders = np.array([shuffled(np.arange(n, dtype=np.uint64), n, keys) for keys in KEYS[:count]], int)
  places = np.array([np.bincount(orders[:, place], minlength=n) for place in range(n)])
  pairs = np.bincount((orders[:, :-1] * n + orders[:, 1:]).ravel(), minlength=n * n).reshape(n, n)
  assert abs(places - count / n).max() < 5 * np.sqrt(count / n)
  follow = count * (n - 1) / (n * (n - 1))  # each ordered pair, in each of n - 1 places
  assert np.diag(pairs).max() == 0 and abs(pairs[~np.eye(n, dtype=bool)] - follow).max() < 5 * np.sqrt(follow)


def test_very_many_images_are_never_permuted_as_a_whole():
  tracemalloc.start()
  index, _ = epoch_plan(0, 0, 10**9, 10**6, own=slice(0, 100))
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert index.shape == (1000, 100) and len(np.unique(index)) == index.size and peak < 20e6


@pytest.mark.parametrize("b", [0, 41])
def test_an_impossible_batch_size_is_an_error(b):
  with pytest.raises(UserError, match=f"train.batch_size={b}: the training set has 40 images; expected 1 to 40"):
    epoch_plan(0, 0, 40, b)
