"""Draws unbalanced training sets and the balanced sets that evaluate them (ISD, arXiv 2012.09259)."""

import numpy as np

from jaxssl.config.schema import ImbalanceConfig
from jaxssl.core import UserError
from jaxssl.core.rng import generator


def draw(
  labels: np.ndarray | None, names: tuple[str, ...], config: ImbalanceConfig, listed: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
  """Draws an unbalanced set from labels int [n], -1 if unknown, and class names; a function of `config.seed`.

  few_large: `large` head classes keep all images, each tail class keeps `small_images`. long_tail: sizes fall geometrically
  from that of the smallest class to 1 / `ratio` of it; the smaller half of the classes is the tail.
  `listed`: positions int [m] that both draw from. With kind=listed they are the training set itself, and the tail classes
  are those below the geometric mean of its largest and smallest class.
  Returns the positions of the training set and of the reference, which has as many images of each class as the smallest has,
  whether trained on or not; and the classes of "head" and "tail", unless all are in the head. All are ascending.
  Raises UserError for what the images do not allow.
  """
  if labels is None:
    raise UserError(f"data.imbalance.kind={config.kind}: needs labels, and the training images have none; use none")
  if config.kind == "listed":
    if listed is None:
      raise UserError("data.imbalance.kind=listed: needs data.list_path, the list of an unbalanced set")
    train, pool = listed, labels
    known = labels[train][labels[train] >= 0]
    if not len(known):
      raise UserError("data.imbalance.kind=listed: no listed image has a label; expected labels of some, or kind=none")
    classes, counts = np.unique(known, return_counts=True)
    in_head = counts**2 >= counts.max() * counts.min()
  else:
    pool = labels if listed is None else np.where(np.isin(np.arange(len(labels)), listed), labels, -1)
    rng = generator(config.seed, "imbalance")
    present = np.unique(pool[pool >= 0])
    if config.classes:
      _check("classes", config.classes, 2, len(present), "the classes with images; or 0 for all")
    classes = rng.permutation(present)[: config.classes or len(present)]
    available, rank = np.bincount(pool[pool >= 0])[classes], np.arange(len(classes))
    fewest, meaning = available.min(), f"the number of images of class {names[classes[available.argmin()]]}"
    if config.kind == "few_large":
      _check("large", config.large, 1, len(classes) - 1, "one less than the classes used")
      _check("small_images", config.small_images, 1, fewest, meaning)
      in_head = rank < config.large
      sizes = np.where(in_head, available, config.small_images)
    else:
      _check("ratio", config.ratio, 1, fewest, f"{meaning}; more would empty a class")
      in_head = rank < (len(classes) + 1) // 2
      sizes = np.round(np.geomspace(fewest, fewest / config.ratio, len(classes))).astype(int)
    train = _sample(pool, classes, sizes, rng)
  groups = {"head": np.sort(classes[in_head]), "tail": np.sort(classes[~in_head])}
  return train, balanced(pool, classes, names, config.seed), {name: group for name, group in groups.items() if len(group)}


def balanced(labels: np.ndarray, classes: np.ndarray, names: tuple[str, ...], seed: int) -> np.ndarray:
  """Draws as many images of each of `classes` (-1 is none) as the smallest has. Returns positions, int [m] ascending.

  Raises UserError if a class has none.
  """
  classes = classes[classes >= 0]
  counts = np.array([(labels == c).sum() for c in classes])
  if not counts.all():
    name = names[classes[counts.argmin()]]
    raise UserError(f"data.imbalance: class {name} has no test image; add one, or train on other classes")
  return _sample(labels, classes, np.full(len(classes), counts.min()), generator(seed, "balanced"))


def _check(field: str, value: float, low: int, high: int, meaning: str) -> None:
  if not low <= value <= high:
    raise UserError(f"data.imbalance.{field}={value}: expected {low} to {high}, {meaning}")


def _sample(labels: np.ndarray, classes: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  members = (rng.permutation(np.flatnonzero(labels == c))[:size] for c, size in zip(classes, sizes, strict=True))
  return np.sort(np.concatenate(list(members)))
