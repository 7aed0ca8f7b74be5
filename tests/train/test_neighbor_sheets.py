"""Sheets of neighbors: each image beside its neighbors, framed by whether they have its class."""

import types
from typing import Any

import numpy as np

from jaxssl.train.neighbor_sheets import COLORS, GAP, NEAREST, PAIRS, SIDE, sheets


def datasets_of(labels) -> Any:
  """Returns three gray images, of the values 0, 50 and 100, as all sets of a run."""
  source = types.SimpleNamespace(read=lambda row: np.full((9, 7, 1), 50 * row, np.uint8), labels=labels, classes=("a", "b"))
  dataset = types.SimpleNamespace(source=source)
  return types.SimpleNamespace(reference=dataset, train=dataset)


def test_rows_are_images_with_framed_neighbors():
  examples = {"images": [0, 2], "neighbors": [[1, 2], [0, 1]], "partners": [[2, 0]]}
  drawn = sheets(datasets_of(np.array([0, 0, 1])), examples)
  cell = SIDE + GAP
  assert drawn[NEAREST].shape == (2 * cell + GAP, 3 * cell + 2 * GAP, 3) and drawn[NEAREST].dtype == np.uint8
  middle = [GAP + SIDE // 2 + row * cell for row in (0, 1)]
  columns = [GAP + SIDE // 2, *(2 * GAP + k * cell + SIDE // 2 for k in (1, 2))]
  assert [[drawn[NEAREST][y, x, 0] for x in columns] for y in middle] == [[0, 50, 100], [100, 0, 50]]
  first = drawn[NEAREST][GAP : GAP + SIDE]
  same, other = first[:, 2 * GAP + cell], first[:, 2 * GAP + 2 * cell]
  assert (same == COLORS["same"]).all()  # a whole frame; dashes for another class
  assert 0.5 < (other == COLORS["other"]).all(-1).mean() < 0.8
  assert (first[:, GAP] == 0).all()  # the image itself has no frame
  assert drawn[PAIRS].shape == (cell + GAP, 2 * cell + 2 * GAP, 3)


def test_without_labels_and_partners_there_are_neither_frames_nor_pairs():
  drawn = sheets(datasets_of(None), {"images": [0], "neighbors": [[1, 2]], "partners": None})
  assert list(drawn) == [NEAREST] and set(np.unique(drawn[NEAREST])) == {0, 50, 100, 255}
