"""Duplicates are found after common changes, without false positives."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxssl.inspect import duplicates
from tests.data import fixtures

PHOTOS = 500


@pytest.fixture(scope="module")
def prints():
  return np.stack([duplicates.fingerprint(fixtures.photo(k, 120, 160)) for k in range(PHOTOS)])


def changed(image, change):
  pil_image = Image.fromarray(image)
  if change == "recoded":
    return np.asarray(Image.open(io.BytesIO(fixtures.coded(image, quality=40))))
  if change == "halved":
    return np.asarray(pil_image.resize((pil_image.width // 2, pil_image.height // 2)))
  if change == "gray":
    return np.asarray(pil_image.convert("L").convert("RGB"))
  return np.clip(image.astype(int) + 25, 0, 255).astype(np.uint8)


def test_different_photos_are_not_duplicates(prints):
  assert duplicates.near(prints) == []


@pytest.mark.parametrize("change", ["recoded", "halved", "gray", "brighter"])
def test_changed_copies_are_found(prints, change):
  copies = [duplicates.fingerprint(changed(fixtures.photo(k, 120, 160), change)) for k in range(20)]
  assert duplicates.near(np.stack([*prints, *copies])) == [[k, PHOTOS + k] for k in range(20)]


def test_linked_copies_form_one_group(prints):
  many = np.concatenate([prints[:50], prints[10:20], prints[15:30]])
  assert sorted(map(len, duplicates.near(many))) == [2] * 15 + [3] * 5


def test_flat_images_match_nothing():
  flat = [duplicates.fingerprint(np.full((30, 30, 3), gray, np.uint8)) for gray in (0, 7, 200)]
  assert duplicates.near(np.stack(flat)) == []


def test_exact_duplicates_are_compared_once(prints):
  exactly = duplicates.exact(["a", "b", "a", "c", "a"])
  assert exactly == [[0, 2, 4]]
  assert duplicates.near(prints[[0, 1, 0, 0, 0]], exactly) == [[0, 2, 3, 4]]
  assert duplicates.near(prints[[0, 1, 0, 2, 0]], exactly) == []
