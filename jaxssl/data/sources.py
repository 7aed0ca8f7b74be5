"""The door to the pictures: what `data` in the config names, to train on and to measure with."""

import dataclasses
import logging
import pathlib
import textwrap
from collections.abc import Mapping

import numpy as np

from jaxssl.config import DataConfig
from jaxssl.data import imbalance
from jaxssl.data.arrays import Given, given, mnist5k
from jaxssl.data.base import Source, Subset
from jaxssl.data.folder import FolderSource, open_folder
from jaxssl.data.guard import Guard
from jaxssl.data.pictures import dtype_of
from jaxssl.data.plan import generator
from jaxssl.data.tfds import open_tfds
from jaxssl.types import UserError

Arrays = Mapping[str, Given]  # "train", and maybe "test"
_FIELDS = {"folder": ("path", "test_path", "list_path"), "tfds": ("path",), "mnist5k": (), "array": ()}  # read by each source
_log = logging.getLogger("jaxssl")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sources:
  """What a run reads."""

  train: Guard
  bank: Guard  # what measurements compare with: `train` itself, unless data.imbalance unbalances that
  test: Guard | None  # None where there is no test split
  groups: Mapping[str, np.ndarray]  # "large", "rare" -> classes that are also measured by themselves


def open_sources(
  config: DataConfig,
  seed: int,
  arrays: Arrays | None = None,
  workdir: str | pathlib.Path | None = None,
) -> Sources:
  """Opens the pictures to train on and to measure with.

  `arrays`: for data.source=array, what "train" and maybe "test" are (jaxssl.data.arrays.given).
  `data.limit` keeps the first pictures of a shuffle by `seed`. Bad pictures are noted in `workdir`.
  Raises UserError for whatever in `config` does not fit.
  """
  _check_fields(config)
  whole, test = _open(config, arrays)
  train, bank, test, groups = _choose(config, whole, test)
  if not 0 <= config.limit <= len(train):
    raise UserError(f"data.limit={config.limit} must lie between 0 (all) and the number of training pictures, {len(train)}")
  unbalanced = bank is not train
  if config.limit:
    train = Subset(train, generator(seed, -1).permutation(len(train))[: config.limit])
  for split, source in (("train", train), ("bank", bank if unbalanced else None), ("test", test)):
    if source is not None:
      _log.info("%s: %d pictures, %d classes, from %s", split, len(source), len(source.classes), source.name)
  guard = Guard(train, workdir)
  return Sources(
    train=guard,
    bank=Guard(bank, workdir) if unbalanced else guard,
    test=None if test is None else Guard(test, workdir),
    groups=groups,
  )


def _check_fields(config: DataConfig) -> None:
  """Raises UserError for a field that the source does not read, and for one that it lacks."""
  for field in ("path", "test_path", "list_path"):
    value = getattr(config, field)
    if value and field not in _FIELDS[config.source]:
      readers = " or ".join(source for source, fields in _FIELDS.items() if field in fields)
      raise UserError(
        f"data.{field}={value} is not read by data.source={config.source}; use data.source={readers} or leave it empty"
      )
  if "path" in _FIELDS[config.source] and not config.path:
    kind = "a folder or a zip" if config.source == "folder" else "the name of a data set"
    raise UserError(f"data.path is empty: data.source={config.source} needs {kind} there")
  if config.channels < 1:
    raise UserError(f"data.channels={config.channels} is not allowed; at least 1")
  for field in ("mean", "std"):
    values = getattr(config, field)
    if len(values) not in (0, 1, config.channels):
      raise UserError(
        f"data.{field}={values} is not allowed; one value, one for each of data.channels={config.channels}, "
        f"or none (--config.data.{field}=), and the pictures are measured"
      )
  if min(config.std, default=1) <= 0:
    raise UserError(f"data.std={config.std} is not allowed; above 0")


def _open(config: DataConfig, arrays: Arrays | None) -> tuple[Source, Source | None]:
  if config.source == "folder":
    return open_folder(config)
  if config.source == "tfds":
    return open_tfds(config)
  if config.source == "mnist5k":
    return mnist5k(config.channels, dtype_of(config.depth))
  if not arrays or "train" not in arrays:
    raise UserError('data.source=array needs arrays={"train": ...}, and maybe "test", from the calling program')
  kind = config.channels, dtype_of(config.depth)
  sources = {split: given(pictures, f"{split} array", *kind) for split, pictures in arrays.items()}
  return sources["train"], sources.get("test")


def _choose(
  config: DataConfig, whole: Source, test: Source | None
) -> tuple[Source, Source, Source | None, dict[str, np.ndarray]]:
  """Takes what data.list_path and data.imbalance ask for from both splits: train, bank, test, and groups of classes."""
  listed = whole.listed(config.list_path) if isinstance(whole, FolderSource) and config.list_path else None
  train = bank = whole if listed is None else Subset(whole, listed)
  groups = {}
  if config.imbalance.kind != "none":
    draw = imbalance.draw(whole.labels, whole.classes, config.imbalance, listed)
    train, bank = Subset(whole, draw.train), Subset(whole, draw.bank)
    groups = {name: classes for name, classes in (("large", draw.large), ("rare", draw.rare)) if len(classes)}
    for name, classes in groups.items():
      shown = textwrap.shorten(", ".join(whole.classes[c] for c in classes), 100, placeholder=" ...")
      _log.info("%d %s classes: %s", len(classes), name, shown)
  if train is whole or train.labels is None or test is None or test.labels is None:
    return train, bank, test, groups
  if groups:
    kept = imbalance.balanced(test.labels, np.unique(train.labels), whole.classes, config.imbalance.seed)
  else:
    kept = np.flatnonzero(np.isin(test.labels, train.labels))
  return train, bank, Subset(test, kept), groups
