"""Holds out a part of a labeled set that has no test set, to test on (`evals.holdout`)."""

import hashlib
import unicodedata

import numpy as np

from jaxssl.core import LOG, UserError, require
from jaxssl.data.source import Source, Subset, name_of, names_of


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
  """Draws a share of each class, rounded: positions int [h], ascending.

  The images of a class whose names, hashed with the seed, come first are drawn: at least one and never all, none of a class of
  one. `among`: positions int [m] that may be drawn, by default all; images without a label are not drawn.
  Labels are used for this only: what trains on the others never sees one. Raises UserError if there is nothing to draw from.
  """
  labels = source.labels
  if labels is None:
    raise UserError(f"evals.holdout={share:g}: {source.name} has no labels to test with; sort it into class folders, or use 0")
  rows = np.arange(len(source)) if among is None else among
  rows = rows[labels[rows] >= 0]
  names = names_of(source, rows)
  if names is None:
    own = (unicodedata.normalize("NFC", name_of(source, k)) for k in rows.tolist())
    names = "".join(f"{name}\0" for name in own).encode(errors="surrogateescape")
  hashes = np.array([_hash(name, seed) for name in names.split(b"\0")[:-1]], np.float64)
  order = np.lexsort((hashes, labels[rows]))
  _, first, sizes = np.unique(labels[rows][order], return_index=True, return_counts=True)
  counts = np.where(sizes > 1, np.clip(np.round(share * sizes), 1, sizes - 1), 0)
  drawn = np.zeros(len(rows), bool)
  drawn[order] = np.arange(len(rows)) - np.repeat(first, sizes) < np.repeat(counts, sizes)
  if not drawn.any():
    raise UserError(f"evals.holdout={share:g}: no class of {source.name} has two images, one to test on; use 0")
  return np.sort(rows[drawn])


def _hash(name: bytes, seed: int) -> float:
  """Hashes a name and the seed to a number in 0..1."""
  return int.from_bytes(hashlib.blake2b(b"%d\0%b" % (seed, name), digest_size=8).digest()) / 2**64
