"""Which images make a training set unbalanced, and which balanced ones it is measured with (ISD, arXiv 2012.09259)."""

import dataclasses

import numpy as np

from jaxssl.config.schema import ImbalanceConfig
from jaxssl.core.errors import UserError
from jaxssl.core.rng import generator


@dataclasses.dataclass(frozen=True, kw_only=True)
class Draw:
  """Positions of images, int [m] ascending, and numbers of classes, ascending."""

  train: np.ndarray
  bank: np.ndarray  # as many of each class as the smallest of them has, whether trained on or not
  large: np.ndarray
  rare: np.ndarray


def draw(labels: np.ndarray | None, names: tuple[str, ...], config: ImbalanceConfig, listed: np.ndarray | None) -> Draw:
  """Draws an unbalanced set from labels int [n], -1 unknown, and class names; the same for the same seed.

  few_large: `large` classes whole, `small_images` images of each other class, which are the rare ones. long_tail: sizes fall
  geometrically, from what the smallest class has to 1 / `ratio` of it; the later half of the classes are the rare ones.
  `listed`: positions int [m] that both draw from; to listed they are the set itself, and classes are rare below the geometric
  mean of its largest and smallest class. Raises UserError for what the images do not allow.
  """
  if labels is None:
    raise UserError(f"data.imbalance.kind={config.kind} goes by labels, but the training images have none")
  if config.kind == "listed":
    if listed is None:
      raise UserError("data.imbalance.kind=listed needs data.list_path, the list of an unbalanced set")
    train, pool = listed, labels
    classes, counts = np.unique(labels[train], return_counts=True)
    is_large = counts**2 >= counts.max() * counts.min()
  else:
    pool = labels if listed is None else np.where(np.isin(np.arange(len(labels)), listed), labels, -1)
    random = generator(config.seed, -2)
    classes = _classes(pool, config.classes, random)
    available = np.bincount(pool[pool >= 0])[classes]
    make = _few_large if config.kind == "few_large" else _long_tail
    sizes, is_large = make(available, [names[c] for c in classes], config)
    train = _some(pool, classes, sizes, random)
  bank = balanced(pool, classes, names, config.seed)
  return Draw(train=train, bank=bank, large=np.sort(classes[is_large]), rare=np.sort(classes[~is_large]))


def balanced(labels: np.ndarray, classes: np.ndarray, names: tuple[str, ...], seed: int) -> np.ndarray:
  """Draws as many images of each of `classes` as the smallest of them has: positions, int [m] ascending.

  Raises UserError where one has none.
  """
  counts = np.array([(labels == c).sum() for c in classes])
  if not counts.all():
    raise UserError(
      f"data.imbalance: class {names[classes[counts.argmin()]]} has no image to test on; add one to the test split"
    )
  return _some(labels, classes, np.full(len(classes), counts.min()), generator(seed, -3))


def _classes(labels: np.ndarray, number: int, random: np.random.Generator) -> np.ndarray:
  """Draws `number` of the classes that have images (0: all), in random order."""
  present = np.unique(labels[labels >= 0])
  number = number or len(present)
  if not 2 <= number <= len(present):
    raise UserError(f"data.imbalance.classes={number} must lie between 2 and {len(present)}, the classes with images; 0: all")
  return random.permutation(present)[:number]


def _few_large(available: np.ndarray, names: list[str], config: ImbalanceConfig) -> tuple[np.ndarray, np.ndarray]:
  """Gives each class's size and whether it is large; the first are."""
  least = available.argmin()
  if not 1 <= config.large < len(names):
    allowed = f"between 1 and {len(names) - 1}, one less than the classes used"
    raise UserError(f"data.imbalance.large={config.large} must lie {allowed}")
  if not 1 <= config.small_images <= available[least]:
    allowed = f"between 1 and {available[least]}, the images of class {names[least]}"
    raise UserError(f"data.imbalance.small_images={config.small_images} must lie {allowed}")
  is_large = np.arange(len(names)) < config.large
  return np.where(is_large, available, config.small_images), is_large


def _long_tail(available: np.ndarray, names: list[str], config: ImbalanceConfig) -> tuple[np.ndarray, np.ndarray]:
  """Gives each class's size and whether it is large; the first half is."""
  least = available.argmin()
  if not 1 <= config.ratio <= available[least]:
    allowed = f"between 1 and {available[least]}, the images of class {names[least]}, so that no class ends up empty"
    raise UserError(f"data.imbalance.ratio={config.ratio} must lie {allowed}")
  sizes = np.round(np.geomspace(available[least], available[least] / config.ratio, len(names))).astype(int)
  return sizes, np.arange(len(names)) < (len(names) + 1) // 2


def _some(labels: np.ndarray, classes: np.ndarray, sizes: np.ndarray, random: np.random.Generator) -> np.ndarray:
  """Draws so many images of each class: positions, ascending."""
  members = (random.permutation(np.flatnonzero(labels == c))[:size] for c, size in zip(classes, sizes, strict=True))
  return np.sort(np.concatenate(list(members)))
