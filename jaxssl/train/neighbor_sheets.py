"""Draws the examples in neighbors.jsonl as images for TensorBoard and other trackers: the same as in the report."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxssl.data.datasets import Datasets
from jaxssl.data.thumbnails import Thumbnails

SIDE, GAP, FRAME = 64, 4, 3  # pixels: of an image, between images, of a frame
COLORS = {"same": (0, 114, 178), "other": (213, 94, 0)}  # blue: of the same class; orange, dashed: of another one
NEAREST, PAIRS = "Neighbors/nearest", "Neighbors/bootstrapped_pairs"


def sheets(datasets: Datasets, examples: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Returns images, uint8 [h, w, 3], by tag, of the result of `evals.neighbors.nearest_examples` on these datasets.

  Each row is an image and its neighbors, the nearest first, framed by whether they have its class. Pairs, in a sheet of their
  own, are an image and the one that supplied its second view.
  """
  rows = [[row, *others] for row, others in zip(examples["images"], examples["neighbors"], strict=True)]
  drawn = {NEAREST: _sheet(Thumbnails(datasets.reference, SIDE), rows)}
  if examples["partners"]:
    drawn[PAIRS] = _sheet(Thumbnails(datasets.train, SIDE), examples["partners"])
  return drawn


def _sheet(images: Thumbnails, rows: Sequence[Sequence[int]]) -> np.ndarray:
  cell, wide = SIDE + GAP, len(rows[0]) * (SIDE + GAP) + GAP  # a wider gap after the first image
  sheet = np.full((len(rows) * cell + GAP, wide + GAP, 3), 255, np.uint8)
  for i, (first, *others) in enumerate(rows):
    top = GAP + i * cell
    sheet[top : top + SIDE, GAP : GAP + SIDE] = images.read(first)
    for k, other in enumerate(others, start=1):
      left = 2 * GAP + k * cell
      sheet[top : top + SIDE, left : left + SIDE] = _framed(images.read(other), images.frame(first, other))
  return sheet


def _framed(image: np.ndarray, kind: str) -> np.ndarray:
  """Returns a copy with the frame of a kind of neighbor, if any."""
  image = image.copy()
  if kind:
    y, x = np.indices(image.shape[:2])
    edge = np.minimum(np.minimum(y, x), np.minimum(SIDE - 1 - y, SIDE - 1 - x)) < FRAME
    dash = (y + x) % 16 < 10 if kind == "other" else True
    image[edge & dash] = COLORS[kind]
  return image
