"""The order of images is a permutation, a function of seed and epoch only."""

import itertools

import numpy as np
import pytest

from jaxssl.core import UserError
from jaxssl.data.sampler import epoch_plan


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
  index, partner = epoch_plan(1, 2, 40, 8, partners)
  assert (index == epoch_plan(1, 2, 40, 8)[0]).all()
  assert (partner == partners[index]).all() and partner.dtype == np.int32


@pytest.mark.parametrize("b", [0, 41])
def test_an_impossible_batch_size_is_an_error(b):
  with pytest.raises(UserError, match=f"train.batch_size={b}: the training set has 40 images; expected 1 to 40"):
    epoch_plan(0, 0, 40, b)
