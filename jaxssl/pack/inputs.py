"""Opens the images to pack, from whatever holds them."""

import collections
import contextlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxssl.config.parse import read
from jaxssl.config.schema import DataConfig
from jaxssl.core import UserError, path_of, paths, tree
from jaxssl.data import datasets, sampler, value_range
from jaxssl.data.file_kinds import ENDINGS, DecodeError
from jaxssl.data.image_io import Decoder
from jaxssl.data.packed_manifest import is_packed
from jaxssl.data.parquet import PARQUET
from jaxssl.data.source import Source, Subset
from jaxssl.data.tfrecord import TFRECORD
from jaxssl.data.webdataset import TAR

_NAMED = "tfds:"
_SAMPLED = 100  # images that are tried to find a readable one
_KINDS = {"webdataset": TAR, "tfrecord": TFRECORD, "parquet": PARQUET}  # by the names of files
_REFUSED = ("limit", "imbalance", "mean", "std", "placement", "resident_size", "stage")  # are applied when a run is trained


def data_config(data: str, changes: Mapping[str, Any]) -> DataConfig:
  """Returns the config of `--data` with changed fields of `data`, by dotted path. Raises UserError."""
  for name in changes:
    field = name.removeprefix("data.").partition(".")[0]
    if not name.startswith("data.") or field in (*_REFUSED, "path"):
      raise UserError(f"{name}: does not change what is packed; leave it out, and use it when you train")
  given = {"path": data, **tree.updated({}, changes).get("data", {})}
  if data.startswith(_NAMED) and given.get("source", "tfds") == "tfds":
    given |= {"source": "tfds", "path": data.removeprefix(_NAMED)}
  return read(DataConfig, given if "source" in given else {**given, "source": kind_of(data)}, "data.")


def kind_of(data: str) -> str:
  """Returns the data.source of a path, by what is there. Raises UserError if a folder holds several kinds."""
  root = paths.absolute(data)
  base = os.path.basename(root)
  if is_packed(root):
    return "packed"
  for kind, pattern in _KINDS.items():
    if pattern.search(base):
      return kind
  path = path_of(root)
  if not path.is_dir():
    return "numpy" if base.lower().endswith((".npy", ".npz")) else "folder"
  counts = collections.Counter[str]()
  for name in _names(path):
    lower = name.lower()
    kind = next((kind for kind, pattern in _KINDS.items() if pattern.search(name)), "")
    counts[kind or ("numpy" if lower.endswith(".npz") else "folder" if lower.endswith(ENDINGS) else "")] += 1
  del counts[""]
  if len(counts) > 1:
    found = ", ".join(f"{number} of {kind}" for kind, number in counts.most_common())
    choice = f"choose one, e.g. --data.source={counts.most_common(1)[0][0]}"
    raise UserError(f"--data={data}: holds files of several kinds: {found}; {choice}")
  return next(iter(counts), "folder")


def _names(path: Any) -> list[str]:
  """Returns the names of the files in a folder, and in those in it."""
  names = []
  for entry in path.iterdir():
    if entry.name.startswith("."):
      continue
    if not entry.name.lower().endswith(ENDINGS) and entry.is_dir():
      names += [inner.name for inner in entry.iterdir()][:1000]
    else:
      names.append(entry.name)
  return names


def open_sources(config: DataConfig) -> dict[str, Source]:
  """Opens the training images, those that `data.list_path` names if it is set, and the test images if there are some.

  Raises UserError for test images of classes that the training images lack: a packed dataset has one list of classes.
  """
  whole, test, listed = datasets.open_whole_sets(config)
  train = whole if listed is None else Subset(whole, listed)
  if train.labels is not None and test is not None and test.labels is not None:
    if listed is not None:
      test = Subset(test, np.flatnonzero(np.isin(test.labels, train.labels)))  # as a run on that list would be tested
    elif lacking := [test.classes[k] for k in np.unique(test.labels) if k >= len(train.classes)]:
      problem = f"the training images lack the classes {', '.join(lacking[:5])}"
      raise UserError(f"{test.name}: {problem}; change the labels of these test images, or remove them")
  sources = {"train": train} | ({} if test is None else {"test": test})
  if _are_arrays(train):  # their range decides how they are read
    decoder = Decoder.of(value_range.settled(config, train, tolerant=True))
    for source in sources.values():
      source.use(decoder)
  return sources


def _are_arrays(source: Source) -> bool:
  """Returns whether images are arrays instead of files, by the first readable one of a sample."""
  for row in sampler.evenly_spaced(len(source), _SAMPLED).tolist():
    with contextlib.suppress(DecodeError):
      return source.encoded(row) is None
  return False
