"""Labels of a program's images: numbers or names, given or found without reading an image. For evaluation only."""

from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np

from jaxssl.core import LOG, UserError

Labels = tuple[np.ndarray | None, tuple[str, ...]]
_MOST = 1_000_000  # classes; larger numbers are identifiers of images
_EXPECTED = "expected one per image: class numbers from 0, -1 if unknown, or class names"


def read_labels(values: Any, count: int, where: str, names: Sequence[str] = (), known: tuple[str, ...] = ()) -> Labels:
  """Returns labels int32 [count], -1 if unknown, or None if all are; and the names of the classes, by default their numbers.

  `values`: integers, -1 or None if unknown, or names; `names`: of the classes 0, 1, ...; `known`: the classes of the training
  images, if these are test images, which are matched by name. Raises UserError.
  """
  return _matched(*_numbers(values, count, where), where, names, known)


def stored_labels(values: Any, count: int, where: str, names: Sequence[str] = (), known: tuple[str, ...] = ()) -> Labels:
  """Returns labels as `read_labels`; None, with a warning, if the values are neither class numbers nor names.

  For labels that were stored with images for another purpose. Raises UserError for test images of other classes.
  """
  try:
    numbers, found = _numbers(values, count, where)
  except UserError as error:
    LOG.warning("%s; evaluated without labels", error)
    return None, ()
  return _matched(numbers, found, where, names, known)


def _matched(numbers: np.ndarray, found: tuple[str, ...], where: str, names: Sequence[str], known: tuple[str, ...]) -> Labels:
  """Returns labels and the names of the classes, those of the training images if these are test images."""
  if (numbers < 0).all():
    return None, ()
  names, largest = tuple(found or names), int(numbers.max(initial=-1))
  if not names and known and not counted(known):  # their order might be another one
    raise UserError(f"{where}: labels are numbers, but those of the training images are names, e.g. {known[0]}; expected names")
  if not names:
    return numbers, known if largest < len(known) else tuple(map(str, range(largest + 1)))
  if largest >= len(names):
    raise UserError(f"{where}: a label is {largest}, but there are names for the classes 0 to {len(names) - 1} only")
  if not known or names == known or (counted(known) and not found):
    return numbers, names
  place = {name: k for k, name in enumerate(known)}
  if lacking := [names[k] for k in np.unique(numbers[numbers >= 0]) if names[k] not in place]:
    raise UserError(f"{where}: the training images lack the classes {', '.join(lacking[:5])}; rename or remove them")
  return np.array([*(place.get(name, -1) for name in names), -1], np.int32)[numbers], known


def find_labels(items: Any, index: int, label: Any, where: str, known: tuple[str, ...] = ()) -> Labels:
  """Finds the labels of a dataset of the calling program, as `read_labels`; None if that would read images.

  `label`: the label in the item at `index`, or None. Labels that differ from it or cannot be read are not used, which is
  logged. Raises UserError for test images of a class that the training images lack.
  """
  try:
    values, names = _beside(items)
    numbers, found = (None, ()) if values is None else _numbers(values, len(items), where)
  except Exception as error:  # the attributes of a class of the user may raise or hold anything
    LOG.info("%s; evaluated without labels", error if isinstance(error, UserError) else f"{where}: no labels: {error!r}")
    return None, ()
  if numbers is None:
    advice = "for evaluations with labels pass (images, labels)"
    if label is not None:
      LOG.info("%s: the labels in the items are not used, since that would read every image; %s", where, advice)
    elif columns := [str(name) for name, feature in _features(items).items() if getattr(feature, "names", None)]:
      LOG.info("%s: the labels in %s are not used: no column is called label; %s", where, ", ".join(columns), advice)
    return None, ()
  number = _number(label)
  if number is not None and not found and number != numbers[index]:
    problem = f"label {index} is {numbers[index]}, but {number} in item {index}"
    LOG.warning("%s: %s; evaluated without labels", where, problem)
    return None, ()
  if found:
    return read_labels(values, len(items), where, (), known)
  return read_labels(numbers, len(items), where, names if numbers.max() < len(names) else (), known)


def label_of(item: Any) -> Any:
  """Returns the label in an item, (image, label, ...) or a mapping; None without one."""
  if isinstance(item, Mapping):
    return item.get("label")
  return item[1] if isinstance(item, tuple | list) and len(item) > 1 else None


def _beside(items: Any) -> tuple[Any, tuple[str, ...]]:
  """Returns the labels that a dataset keeps beside its images, or None, and the names of its classes."""
  if features := _features(items):
    column = next((name for name in ("label", "labels") if name in features), None)
    if column is None:
      return None, ()
    plain = items.with_format(None) if hasattr(items, "with_format") else items  # a transform of the user would want images
    return plain[column], tuple(getattr(features[column], "names", None) or ())
  if hasattr(items, "dataset") and hasattr(items, "indices"):  # torch.utils.data.Subset
    values, names = _beside(items.dataset)
    return None if values is None else _array(values)[_array(items.indices)], names
  if isinstance(items, list):
    labels = [label_of(item) for item in items]
    return None if all(label is None for label in labels) else labels, ()
  tensors = getattr(items, "tensors", None)  # torch.utils.data.TensorDataset
  if isinstance(tensors, tuple) and len(tensors) > 1:
    return tensors[1], ()
  values = next((x for x in (getattr(items, field, None) for field in ("targets", "labels")) if x is not None), None)
  names = getattr(items, "classes", ())
  return values, tuple(map(str, names)) if isinstance(names, list | tuple) else ()


def _features(items: Any) -> Mapping:
  """Returns the columns of a Hugging Face dataset by name; empty for anything else."""
  features = getattr(items, "features", None)
  return features if isinstance(features, Mapping) else {}


def _numbers(values: Any, count: int, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
  """Returns int32 [count], and the names of the classes if the values are names. Raises UserError."""
  try:
    labels = _array(values)
  except (TypeError, ValueError, RuntimeError) as error:  # the last is what torch raises
    raise UserError(f"{where}: labels are a {type(values).__name__}; {_EXPECTED}") from error
  if labels.shape != (count,):
    raise UserError(f"{where}: labels have shape {list(labels.shape)}; expected [{count}], one label per image")
  if labels.dtype == object:  # None beside names or numbers
    unknown = np.array([_is_missing(label) for label in labels], bool)
    texts = all(isinstance(label, str) for label in labels[~unknown])
    for k in np.flatnonzero(~unknown):
      if not texts and _number(labels[k]) is None:
        raise UserError(f"{where}: label {k} is {labels[k]!r}; {_EXPECTED}")
    labels = np.where(unknown, "" if texts else -1, labels)
    labels = np.array([label if texts else _number(label) for label in labels])
  if labels.dtype.kind == "U":
    names = np.unique(labels[labels != ""])
    return np.where(labels == "", -1, np.searchsorted(names, labels)).astype(np.int32), tuple(map(str, names))
  if not len(labels):
    return np.zeros(0, np.int32), ()
  if labels.dtype.kind == "f":  # integers of pandas of which some are missing
    labels = np.where(np.isnan(labels), -1, labels)
    if len(odd := np.flatnonzero(labels != np.rint(labels))):
      raise UserError(f"{where}: label {odd[0]} is {labels[odd[0]]:g}; {_EXPECTED}")
  elif labels.dtype.kind not in "biu":
    raise UserError(f"{where}: labels are {labels.dtype}; {_EXPECTED}")
  if labels.min() < -1 or labels.max() >= _MOST:
    raise UserError(f"{where}: labels are from {labels.min():.0f} to {labels.max():.0f}; {_EXPECTED}")
  return labels.astype(np.int32), ()


def _is_missing(label: Any) -> bool:
  """Returns whether a label is None, or what pandas has in its place."""
  return label is None or type(label).__name__ in ("NAType", "NaTType") or (isinstance(label, float) and label != label)


def _array(values: Any) -> np.ndarray:
  """Converts an array, a tensor or a sequence to an array."""
  if isinstance(values, str | bytes | Mapping | Set):
    raise TypeError("no sequence of labels")
  values = values.detach().cpu() if hasattr(values, "detach") else values
  if hasattr(values, "__array__"):
    return np.asarray(values)
  values = [value.item() if hasattr(value, "item") else value for value in values]  # tensors of one value
  texts = sum(isinstance(value, str) for value in values)
  return np.array(values, object) if 0 < texts < len(values) else np.asarray(values)  # NumPy would make texts of numbers


def _number(label: Any) -> int | None:
  """Returns an integer, also one in an array or a tensor; None for anything else."""
  try:
    array = np.asarray(label.item() if hasattr(label, "item") else label)
    return int(array) if array.ndim == 0 and array.dtype.kind in "biu" else None
  except (TypeError, ValueError, RuntimeError):
    return None


def counted(classes: tuple[str, ...]) -> bool:
  """Returns whether the names of classes are their numbers."""
  return classes == tuple(map(str, range(len(classes))))
