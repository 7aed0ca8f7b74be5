"""The pictures of a run, opened once: what is trained on, what measurements compare with, and what they ask about."""

import dataclasses
from collections.abc import Iterator, Mapping

import jax
import numpy as np
from jax.sharding import Mesh

from jaxssl import parallel
from jaxssl.config import Config
from jaxssl.data import pipeline, plan
from jaxssl.data.base import Subset
from jaxssl.data.guard import Guard
from jaxssl.data.sources import Sources
from jaxssl.types import Array
from jaxssl.views import recipes


@dataclasses.dataclass(frozen=True)
class Split:
  """The pictures of one split; `store`: all of them on the devices, as read, [n, h, w, c], where data.placement=device."""

  source: Guard
  store: Array | None

  def __len__(self) -> int:
    return len(self.source)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Splits:
  """All splits of a run."""

  train: Split
  bank: Split  # what measurements compare with: `train` itself, unless data.imbalance unbalances that
  test: Split | None  # None where there is no test split
  groups: Mapping[str, np.ndarray]  # "large", "rare" -> classes that are also measured by themselves

  @property
  def bad(self) -> set[str]:
    """Names of the pictures that could not be read so far."""
    return {name for split in (self.train, self.bank, self.test) if split for name in split.source.bad}


def load(config: Config, mesh: Mesh, pictures: Sources) -> Splits:
  """Puts the pictures on the devices where data.placement=device. Raises UserError where they do not fit the views."""

  def split(source: Guard) -> Split:
    if config.data.placement == "host":
      return Split(source, None)
    rows = parallel.padded_rows(len(source), mesh)
    own = parallel.own_rows(mesh, rows)
    stored = pipeline.resident(source, config.data.store_size, config.data.workers, range(len(source))[own])
    recipes.check(config.views, stored.shape[1:3])
    if jax.process_count() == 1:
      return Split(source, parallel.everywhere(mesh, stored))
    missing = own.stop - own.start - len(stored)  # of the last process
    stored = np.concatenate([stored, np.zeros((missing, *stored.shape[1:]), stored.dtype)])
    return Split(source, parallel.everywhere(mesh, parallel.global_rows(mesh, stored)))

  train = split(pictures.train)
  return Splits(
    train=train,
    bank=train if pictures.bank is pictures.train else split(pictures.bank),
    test=None if pictures.test is None else split(pictures.test),
    groups=pictures.groups,
  )


def part(split: Split, rows: np.ndarray) -> Split:
  """Some pictures of a split, int [m], in that order."""
  return Split(Guard(Subset(split.source, rows)), None if split.store is None else split.store[rows])


def in_order(config: Config, mesh: Mesh, split: Split, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Goes through a split once, for an evaluation at `size` pixels: (pictures or their places in the store, mask bool [b]).

  Pictures: as read, [b, size, size, c], read on the host, where there is no store. Of several processes, each goes through its
  own rows of every batch, but the mask is the whole one.
  """
  evals = config.evals
  index, mask = plan.eval_plan(len(split), parallel.padded_rows(evals.batch_size, mesh))
  own = parallel.own_rows(mesh, index.shape[1])
  if split.store is not None:
    yield from zip(index[:, own], mask, strict=True)
    return
  read = pipeline.eval_batches(split.source, index[:, own], mask[:, own], evals.resize, size, config.data.workers)
  for valid, (_, _, pictures) in zip(mask, read, strict=True):
    yield pictures, valid
