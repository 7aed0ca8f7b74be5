"""Describes the images of a run's sets for its manifest."""

import unicodedata
from typing import Any

import numpy as np

from jaxssl.core import UserError
from jaxssl.data.datasets import Datasets
from jaxssl.data.source import Source, Subset
from jaxssl.parallel.processes import agreed
from jaxssl.workdir.manifest import Manifest


def manifest_of(source: Source) -> Manifest:
  """Lists the names, in Unicode NFC, and the sizes of the images of a source; without names, their number and kind."""
  rows, root = np.arange(len(source)), source
  while isinstance(root, Subset):
    rows, root = root.indices[rows], root.source
  kind = f"{source.channels} channels of {np.dtype(source.dtype)}"
  relative_name: Any = getattr(root, "relative_name", lambda _: None)  # a source need not inherit from Source
  names = bytearray()
  for row in rows.tolist():
    name = relative_name(row)
    if name is None:
      return Manifest(count=len(rows), kind=kind)
    names += unicodedata.normalize("NFC", name).encode("utf-8", "surrogateescape")
    names.append(0)
  sizes = root.sizes()
  sizes = np.full(len(rows), -1, np.int64) if sizes is None else np.asarray(sizes, np.int64)[rows]
  return Manifest(count=len(rows), names=bytes(names), sizes=sizes)


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
