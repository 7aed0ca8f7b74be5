"""The door to the images: what `data` in the config names, to train on and to measure with."""

import dataclasses
import logging
import os
import pathlib
import textwrap
from collections.abc import Iterator, Mapping

import jax
import numpy as np
from jax.sharding import Mesh

from jaxssl.augment import pipeline
from jaxssl.config.schema import Config, DataConfig
from jaxssl.core.errors import UserError
from jaxssl.core.rng import generator
from jaxssl.core.types import Array
from jaxssl.data import imbalance, input_pipeline, sampler
from jaxssl.data.arrays import DataInput, as_source, mnist5k
from jaxssl.data.folder import FolderSource, open_folder, open_whole
from jaxssl.data.image_io import dtype_of
from jaxssl.data.source import Source, Subset
from jaxssl.data.tfds import open_tfds
from jaxssl.data.unreadable import SubstituteUnreadable
from jaxssl.parallel.mesh import global_rows, local_slice, padded_rows, replicate

Arrays = Mapping[str, DataInput]  # "train", and maybe "test"
_FIELDS = {"folder": ("path", "test_path", "list_path"), "tfds": ("path",), "mnist5k": (), "array": ()}  # read by each source
_log = logging.getLogger("jaxssl")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sources:
  """What a run reads."""

  train: SubstituteUnreadable
  bank: SubstituteUnreadable  # what measurements compare with: `train` itself, unless data.imbalance unbalances that
  test: SubstituteUnreadable | None  # None where there is no test split
  groups: Mapping[str, np.ndarray]  # "head", "tail" -> classes that are also measured by themselves


def open_sources(
  config: DataConfig,
  seed: int,
  arrays: Arrays | None = None,
  workdir: str | pathlib.Path | None = None,
) -> Sources:
  """Opens the images to train on and to measure with.

  `arrays`: for data.source=array, what "train" and maybe "test" are (jaxssl.data.arrays.given).
  `data.limit` keeps the first images of a shuffle by `seed`. Bad images are noted in `workdir`.
  Raises UserError for whatever in `config` does not fit.
  """
  _check_fields(config)
  whole, test = _open(config, arrays)
  train, bank, test, groups = _choose(config, whole, test)
  if not 0 <= config.limit <= len(train):
    raise UserError(f"data.limit={config.limit} must lie between 0 (all) and the number of training images, {len(train)}")
  unbalanced = bank is not train
  if config.limit:
    train = Subset(train, generator(seed, -1).permutation(len(train))[: config.limit])
  for split, source in (("train", train), ("bank", bank if unbalanced else None), ("test", test)):
    if source is not None:
      _log.info("%s: %d images, %d classes, from %s", split, len(source), len(source.classes), source.name)
  guard = SubstituteUnreadable(train, workdir)
  return Sources(
    train=guard,
    bank=SubstituteUnreadable(bank, workdir) if unbalanced else guard,
    test=None if test is None else SubstituteUnreadable(test, workdir),
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
        f"or none (--config.data.{field}=), and the images are measured"
      )
  if min(config.std, default=1) <= 0:
    raise UserError(f"data.std={config.std} is not allowed; above 0")


def _open(config: DataConfig, arrays: Arrays | None) -> tuple[Source, Source | None]:
  if config.source == "folder":
    return open_folder(config)
  if config.source == "tfds":
    return open_tfds(config)
  if config.source == "mnist5k":
    return mnist5k(config.channels, dtype_of(config.bit_depth))
  if not arrays or "train" not in arrays:
    raise UserError('data.source=array needs arrays={"train": ...}, and maybe "test", from the calling program')
  kind = config.channels, dtype_of(config.bit_depth)
  sources = {split: as_source(images, f"{split} array", *kind) for split, images in arrays.items()}
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
    groups = {name: classes for name, classes in (("head", draw.large), ("tail", draw.rare)) if len(classes)}
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


@dataclasses.dataclass(frozen=True)
class Split:
  """The images of one split; `store`: all of them on the devices, as read, [n, h, w, c], where data.placement=device."""

  source: SubstituteUnreadable
  store: Array | None

  def __len__(self) -> int:
    return len(self.source)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Splits:
  """All splits of a run."""

  train: Split
  bank: Split  # what measurements compare with: `train` itself, unless data.imbalance unbalances that
  test: Split | None  # None where there is no test split
  groups: Mapping[str, np.ndarray]  # "head", "tail" -> classes that are also measured by themselves

  @property
  def bad(self) -> set[str]:
    """Names of the images that could not be read so far."""
    return {name for split in (self.train, self.bank, self.test) if split for name in split.source.bad}


def load(config: Config, mesh: Mesh, images: Sources) -> Splits:
  """Puts the images on the devices where data.placement=device. Raises UserError where they do not fit the views."""

  def split(source: SubstituteUnreadable) -> Split:
    if config.data.placement == "host":
      return Split(source, None)
    rows = padded_rows(len(source), mesh)
    own = local_slice(mesh, rows)
    stored = input_pipeline.resident(source, config.data.resident_size, config.data.workers, range(len(source))[own])
    pipeline.check(config.views, stored.shape[1:3])
    if jax.process_count() == 1:
      return Split(source, replicate(mesh, stored))
    missing = own.stop - own.start - len(stored)  # of the last process
    stored = np.concatenate([stored, np.zeros((missing, *stored.shape[1:]), stored.dtype)])
    return Split(source, replicate(mesh, global_rows(mesh, stored)))

  train = split(images.train)
  return Splits(
    train=train,
    bank=train if images.bank is images.train else split(images.bank),
    test=None if images.test is None else split(images.test),
    groups=images.groups,
  )


def part(split: Split, rows: np.ndarray) -> Split:
  """Some images of a split, int [m], in that order."""
  return Split(SubstituteUnreadable(Subset(split.source, rows)), None if split.store is None else split.store[rows])


def in_order(config: Config, mesh: Mesh, split: Split, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Goes through a split once, for an evaluation at `size` pixels: (images or their places in the store, mask bool [b]).

  Images: as read, [b, size, size, c], read on the host, where there is no store. Of several processes, each goes through its
  own rows of every batch, but the mask is the whole one.
  """
  evals = config.evals
  index, mask = sampler.eval_plan(len(split), padded_rows(evals.batch_size, mesh))
  own = local_slice(mesh, index.shape[1])
  if split.store is not None:
    yield from zip(index[:, own], mask, strict=True)
    return
  read = input_pipeline.eval_batches(split.source, index[:, own], mask[:, own], evals.resize, size, config.data.workers)
  for valid, (_, _, images) in zip(mask, read, strict=True):
    yield images, valid


def open_every(config: DataConfig, seed: int, whole: bool) -> dict[str, Source]:
  """Opens the images of `config` by split; `whole`: all that is found in a folder, also outside its training and test split.

  Raises UserError for whatever in `config` does not fit.
  """
  if config.source == "array":
    raise UserError("data.source=array are arrays of the program that trained: name other images with --data.path")
  chosen = config.test_path or config.list_path or config.limit or config.imbalance.kind != "none"
  if whole and config.source == "folder" and config.path and not chosen:
    return dict(open_whole(config))
  opened = open_sources(config, seed)
  return {"train": opened.train.source} | ({} if opened.test is None else {"test": opened.test.source})


def name_of(source: Source, index: int) -> str:
  """Name of an image, relative to the folder or zip it lies in."""
  return source.describe(index).removeprefix(source.name + os.sep)
