"""Holds out a part of a labeled set that has no test set, to test on (`evals.holdout`)."""

import hashlib

import numpy as np

from jaxssl.core import LOG, UserError, require
from jaxssl.data.source import Source, Subset


def divide(
  whole: Source, test: Source | None, listed: np.ndarray | None, share: float, seed: int
) -> tuple[Source, Source, np.ndarray | None]:
  """Draws a test set from the images that may be trained on: all, or those at the positions `listed`, int [m].

  Returns the images of `whole` that remain, the test set, and the positions among the former that are listed.
  Raises UserError if there is a test set already, or nothing to draw from.
  """
  require(0 < share < 1, "evals.holdout", share, "a share of each class below 1, or 0 for none")
  if test is not None:
    raise UserError(f"evals.holdout={share:g}: there is a test set already, {len(test)} images of {test.name}; use 0")
  out = draw(whole, share, seed, listed)
  remaining = np.setdiff1d(np.arange(len(whole)), out)
  count = len(whole) if listed is None else len(listed)
  LOG.info("evals.holdout=%g: %d of %d images are held out to test on, and are not trained on", share, len(out), count)
  listed = None if listed is None else np.searchsorted(remaining, np.setdiff1d(listed, out))
  return Subset(whole, remaining), Subset(whole, out), listed


def draw(source: Source, share: float, seed: int, among: np.ndarray | None = None) -> np.ndarray:
  """Draws a share of each class: positions int [h], ascending.

  `among`: positions int [m] that may be drawn, by default all; images without a label are not drawn. The draw is a function of
  the seed and the images' names, not of their positions, so that a set to which images are added keeps nearly the same ones.
  Labels are used for this only: what trains on the others never sees one. Raises UserError if there is nothing to draw from.
  """
  labels = source.labels
  if labels is None:
    raise UserError(f"evals.holdout={share:g}: {source.name} has no labels to test with; sort it into class folders, or use 0")
  rows = np.arange(len(source)) if among is None else among
  rows = rows[labels[rows] >= 0]
  _, which, sizes = np.unique(labels[rows], return_inverse=True, return_counts=True)
  keys = np.array([_key(source.describe(k).removeprefix(source.name), seed) for k in rows.tolist()], np.uint64)
  rank = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # within the class
  drawn = rows[np.lexsort((keys, which))][rank < np.repeat(counts(sizes, share), sizes)]
  if not len(drawn):
    raise UserError(f"evals.holdout={share:g}: no class of {source.name} has two images, one to test on; use 0")
  return np.sort(drawn)


def counts(sizes: np.ndarray, share: float) -> np.ndarray:
  """Returns how many images of each class are drawn, int [c]: at least one, unless the class has no other, and never all."""
  return np.minimum(np.maximum(np.round(share * sizes).astype(int), 1), sizes - 1)


def _key(name: str, seed: int) -> int:
  """Returns 64 random bits."""
  return int.from_bytes(hashlib.blake2b(f"{seed}\0{name}".encode(errors="surrogateescape"), digest_size=8).digest())
