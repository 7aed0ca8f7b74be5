"""Near duplicates are found after common changes, also of photos on plain backgrounds, which are not taken for each other."""

import functools

import numpy as np
import pytest
from PIL import Image

from jaxssl.inspect import duplicates
from jaxssl.inspect.same_photo import details
from tests.data import fixtures
from tests.inspect import plain

PHOTOS = 200
PLAIN = {kind.__name__: kind for kind in (plain.product, plain.textured, plain.document, plain.cells, plain.sky)}


def near(images, exactly=()):
  """Returns the pairs of positions of near duplicates among PIL images."""
  arrays = [np.asarray(image) for image in images]
  prints = np.stack([duplicates.fingerprints(array) for array in arrays])
  return [pair[:2] for pair in duplicates.near(prints, exactly, lambda k: details(arrays[k]))]


@functools.cache
def plain_photos(kind):
  """Returns 120 different photos on plain backgrounds."""
  return [PLAIN[kind](seed) for seed in range(120)]


@pytest.fixture(scope="module")
def photos():
  return [Image.fromarray(fixtures.photo(k, 120, 160)) for k in range(PHOTOS)]


def test_different_photos_are_not_duplicates(photos):
  assert near(photos) == []


@pytest.mark.parametrize("kind", PLAIN)
def test_different_photos_on_plain_backgrounds_are_not_duplicates(kind):
  assert len(near(plain_photos(kind))) <= (2 if kind == "sky" else 0)  # some spots are at the same place


@pytest.mark.parametrize("kind, least", [("product", 10), ("textured", 50), ("document", 10), ("sky", 20)])
def test_fingerprints_alone_would_take_plain_photos_for_duplicates(kind, least):
  prints = np.stack([duplicates.fingerprints(np.asarray(image)) for image in plain_photos(kind)])
  assert len(duplicates.candidates(prints)) >= least


@pytest.mark.parametrize("change", plain.CHANGES)
def test_changed_copies_are_found(photos, change):
  images = [*photos[:20], *(kind(seed) for kind in (plain.product, plain.textured, plain.cells) for seed in range(5))]
  copies = [plain.CHANGES[change](image) for image in images]
  assert near([*images, *copies]) == [(k, len(images) + k) for k in range(len(images))]


@pytest.mark.parametrize("change", plain.CHANGES)
def test_changed_copies_of_documents_are_found(change):
  images = [plain.document(seed) for seed in range(4)]
  assert near([*images, *map(plain.CHANGES[change], images)]) == [(k, 4 + k) for k in range(4)]


def test_the_same_shape_in_another_color_or_place_is_not_a_duplicate():
  image = np.full((100, 100, 3), 255, np.uint8)
  red, blue, moved = image.copy(), image.copy(), image.copy()
  red[30:70, 20:60], blue[30:70, 20:60], moved[30:70, 30:70] = (200, 30, 30), (30, 30, 200), (200, 30, 30)
  assert near(map(Image.fromarray, (red, blue, moved))) == []
  assert near(map(Image.fromarray, (red, red, moved))) == [(0, 1)]


def test_flat_and_smooth_images_match_nothing():
  flat = [np.full((30, 30, 3), gray, np.uint8) for gray in (0, 7, 200)]
  smooth = np.repeat(np.linspace(0, 255, 90, dtype=np.uint8)[:, None, None] * np.ones((1, 90, 1), np.uint8), 3, axis=2)
  assert near(map(Image.fromarray, [*flat, smooth, smooth])) == []


def test_exact_duplicates_are_compared_once(photos):
  exactly = duplicates.exact(["a", "b", "a", "c", "a"])
  assert exactly == [[0, 2, 4]]
  worse = plain.recoded(photos[0])
  assert near([photos[0], photos[1], photos[0], worse, photos[0]], exactly) == [(0, 3)]
  assert near([photos[0], photos[1], photos[0], photos[2], photos[0]], exactly) == []


def test_linked_pairs_form_one_group():
  assert duplicates.linked([(3, 9), (0, 1), (9, 4), (7, 8)]) == [[0, 1], [3, 4, 9], [7, 8]]
  assert duplicates.linked([]) == []


def test_of_many_similar_images_the_nearest_are_compared(monkeypatch):
  monkeypatch.setattr(duplicates, "NEAREST", 2)
  monkeypatch.setattr(duplicates, "_PENDING", 100)
  rng = np.random.default_rng(0)
  prints = rng.normal(size=64) + np.arange(40)[:, None, None] / 400 * rng.normal(size=64)  # on a line
  prints = np.repeat(prints / np.linalg.norm(prints, axis=-1, keepdims=True), 2, axis=1).astype(np.float16)
  pairs = duplicates.candidates(prints)
  assert 39 <= len(pairs) <= 80 and np.all(np.diff(pairs) < 12)
  assert len(np.unique(pairs, axis=0)) == len(pairs)


def test_few_images_are_held_at_a_time(monkeypatch, photos):
  monkeypatch.setattr(duplicates, "_IMAGES", 4)
  images = [*photos[:9], *map(plain.recoded, photos[:9])]
  arrays, reads = [np.asarray(image) for image in images], []

  def read(k):
    reads.append(k)
    return details(arrays[k])

  pairs = duplicates.near(np.stack([duplicates.fingerprints(array) for array in arrays]), [], read)
  assert [pair[:2] for pair in pairs] == [(k, 9 + k) for k in range(9)]
  assert sorted(reads) == list(range(18))  # each once
