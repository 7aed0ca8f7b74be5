"""Finds test images that a run was trained on, by their place, by name and size, or by their content."""

import os

import numpy as np

from jaxssl.workdir.image_keys import combined, may_be_same, name_keys, places
from jaxssl.workdir.manifest import UNKNOWN, Manifest

_TIMES, _DEVIATIONS = 3, 5  # by which equal sizes must exceed those by chance, which depend on the kind of images


def trained_on(train: Manifest, root: str, test: Manifest, test_root: str) -> np.ndarray:
  """Returns the positions of the test images that are among the training images, int [m].

  Images without names are compared by the hashes that are known. Files of one folder are the same if their place and size are.
  In other folders (`root`, `test_root`) they may be copies: their name, that of the folder around them and their size are the
  same, and there are clearly more such pairs than by chance.
  """
  if train.names is None and test.names is None:
    return np.flatnonzero(np.isin(test.fingerprints, train.fingerprints) & (test.fingerprints != UNKNOWN))
  if train.names is None or test.names is None:
    return np.zeros(0, np.int64)
  here, there = os.path.realpath(root), os.path.realpath(test_root)
  if os.path.commonpath([here, there]) in (here, there):
    inside, around = os.path.relpath(there, here), os.path.relpath(here, there)
    known = places(name_keys(train, inside=_folder(around)), name_keys(test, inside=_folder(inside)))
    return np.flatnonzero((known >= 0) & may_be_same(train.fingerprints[known], test.fingerprints))
  ours, theirs = name_keys(train, parts=2), name_keys(test, parts=2)
  ours, theirs = ours[train.fingerprints != UNKNOWN], np.where(test.fingerprints != UNKNOWN, theirs, 0)
  sizes = train.fingerprints[train.fingerprints != UNKNOWN]
  alike = np.flatnonzero(np.isin(combined(theirs, test.fingerprints), combined(ours, sizes)) & (theirs != 0))
  _, counts = np.unique(sizes, return_counts=True)
  chance = (counts * (counts - 1.0)).sum() / max(len(sizes) * (len(sizes) - 1.0), 1)  # that two sizes are the same
  named = np.isin(theirs, ours).sum()
  by_chance = max(_TIMES * chance * named, chance * named + _DEVIATIONS * np.sqrt(chance * (1 - chance) * named))
  return alike if len(alike) > by_chance else alike[:0]


def _folder(path: str) -> str:
  """Returns what to write before a name in a folder below; nothing if it is not below."""
  return "" if path == "." or path.startswith("..") else f"{path}/"
