"""Describes the images of a run's sets for its manifest."""

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from jaxssl.core import LOG, UserError
from jaxssl.data import sampler
from jaxssl.data.arrays import content_hash
from jaxssl.data.datasets import Datasets
from jaxssl.data.file_kinds import DecodeError
from jaxssl.data.source import Source, Subset, names_of, optional
from jaxssl.parallel.processes import agreed
from jaxssl.workdir.manifest import UNKNOWN, Manifest
from jaxssl.workdir.overlap import trained_on

SAMPLED = 100  # images, evenly spaced


def manifest_of(source: Source) -> Manifest:
  """Lists the names, in Unicode NFC, and the fingerprints of the images of a source.

  Images without names also have a kind. If their source offers neither fingerprints nor a version, a sample is hashed.
  """
  rows = np.arange(len(source))
  names = names_of(source, rows)
  fingerprints = optional(source, "fingerprints", rows)
  version, kind = optional(source, "version"), ""
  if names is None:
    kind = ", ".join(filter(None, (version, f"{source.channels} channels of {np.dtype(source.dtype)}")))
  if fingerprints is None:
    fingerprints = _sampled(source) if names is None and version is None else np.full(len(rows), UNKNOWN)
  return Manifest(count=len(rows), kind=kind, names=names, fingerprints=np.asarray(fingerprints, np.int64))


def manifests(datasets: Datasets) -> tuple[Manifest, dict[str, Manifest]]:
  """Returns the manifest of the training images, and those of the other sets by name.

  Raises UserError if the processes of a run list different images.
  """
  train, others = manifest_of(datasets.train.source), {}
  if datasets.reference is not datasets.train:
    others["k-NN reference"] = manifest_of(datasets.reference.source)
  if datasets.test is not None:
    others["test"] = manifest_of(datasets.test.source)
  for name, manifest in (("training", train), *others.items()):
    if not agreed(bytes.fromhex(manifest.digest)):
      found = f"this one has {manifest.count} {name} images"
      raise UserError(f"{datasets.train.source.name}: the processes list different {name} images; {found}; expected the same")
  return train, others


def counted(datasets: Datasets, trained: Iterable[tuple[Manifest, str]], test: Manifest) -> Datasets:
  """Counts the test images that a run was trained on, with a warning. `trained`: its training images, and where they were."""
  assert datasets.test
  source, rows = datasets.test.source, np.zeros(0, np.int64)
  for train, root in trained:
    rows = np.union1d(rows, trained_on(train, root, test, source.name))
  if not len(rows):
    return datasets
  text = "the run is trained on %d of the %d test images, e.g. %s: results on them do not show how well it generalizes"
  LOG.warning(text, len(rows), test.count, source.describe(int(rows[0])))
  return dataclasses.replace(datasets, test_trained_on=len(rows))


def own_counted(datasets: Datasets, train: Manifest, others: Mapping[str, Manifest]) -> Datasets:
  """Counts the test images that are training images too; files can only be both if the test set has a path of its own."""
  if datasets.test is None or (train.names is not None and not datasets.config.test_path):
    return datasets
  return counted(datasets, [(train, datasets.train.source.name)], others["test"])


def _sampled(source: Source) -> np.ndarray:
  """Hashes a sample of the images, int64 [n], unknown elsewhere, if reading one again gives the same."""
  sample = sampler.evenly_spaced(len(source), SAMPLED)
  rows, origin = sample, source
  while isinstance(origin, Subset):  # which may substitute images that cannot be read
    rows, origin = origin.indices[rows], origin.source
  first, second = ([_hash(origin, row) for row in rows.tolist()] for _ in range(2))
  fingerprints = np.full(len(source), UNKNOWN)
  if first == second:
    fingerprints[sample] = first
  else:
    LOG.info("%s: its images differ each time they are read: a run cannot notice that they have changed", source.name)
  return fingerprints


def _hash(source: Source, row: int) -> int:
  try:
    return content_hash(source.read(row))
  except DecodeError:
    return UNKNOWN
