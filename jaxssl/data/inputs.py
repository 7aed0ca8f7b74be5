"""One way in for the images of the calling program: arrays, items, and sources."""

import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxssl.core import UserError
from jaxssl.data.arrays import ArraySource
from jaxssl.data.items import ARRAY, FILE, PIL, TENSOR, ItemSource, kind_of
from jaxssl.data.source import DataInput, Source

_FIELDS = ("name", "channels", "dtype", "classes", "labels", "describe")


def as_source(images: DataInput, name: str, channels: int, dtype: np.dtype, known: tuple[str, ...] = ()) -> Source:
  """Makes a source of images of the calling program, with these channels and this type. Raises UserError if it cannot.

  `known`: the classes of the training images, if these are test images.
  """
  items: Any = images
  labels = None
  if isinstance(images, tuple):
    if len(images) != 2:
      raise UserError(f"{name}: a tuple of {len(images)}; expected (images, labels), or a list of images")
    items, labels = images
  if hasattr(items, "read") and hasattr(items, "encoded"):
    if labels is not None:
      raise UserError(f"{name}: labels beside a source; expected the source only, which has its own")
    return _checked(items, name, channels, dtype)
  if isinstance(items, jax.Array):
    items = np.asarray(items)  # a device would be asked for every image
  if isinstance(items, np.ndarray) and not (items.ndim == 1 and items.dtype.kind in "OU"):  # those are objects or paths
    return ArraySource(items, labels, name, channels, dtype, known)
  _check_collection(items, name)
  return ItemSource(items, labels, name, channels, dtype, known)


def is_one_image(images: Any) -> bool:
  """Returns whether `images` is one image: a PIL image, a file, or an array or tensor of three axes."""
  kind = kind_of(images)
  return kind in (PIL, FILE) or (kind in (ARRAY, TENSOR) and images.ndim == 3)


def _checked(source: Source, name: str, channels: int, dtype: np.dtype) -> Source:
  attributes = dir(source)  # hasattr would read the labels of TFDS
  if lacking := [field for field in _FIELDS if field not in attributes]:
    raise UserError(f"{name}: {type(source).__name__} lacks {', '.join(lacking)} of jaxssl.data.source.Source")
  if (source.channels, source.dtype) != (channels, dtype):
    raise UserError(
      f"data.channels={channels}, data.bit_depth={8 * dtype.itemsize}: "
      f"{name} is a source of {source.channels} channels of {source.dtype}; set the fields to match"
    )
  return source


def _check_collection(items: Any, name: str) -> None:
  """Raises UserError for what is not an object with a length and items."""
  kind = kind_of(items)
  if isinstance(items, str | os.PathLike):
    raise UserError(f"{name}: one path, {items}; expected a list of paths; data.path names a folder")
  if kind in (PIL, FILE) or (kind == TENSOR and (items.ndim < 3 or (items.ndim == 3 and items.shape[0] <= 4))):
    raise UserError(f"{name}: one image, {kind}; expected several, e.g. [image]")
  if isinstance(items, Mapping):  # e.g. datasets.DatasetDict
    keys = ", ".join(map(str, list(items)[:10]))
    raise UserError(f"{name}: a {type(items).__name__} with the keys {keys}; expected images, e.g. one of its values")
  if not hasattr(items, "__len__") or not hasattr(items, "__getitem__"):
    expected = "expected an array, or an object with a length and items: a list, a torch Dataset, a Hugging Face dataset"
    raise UserError(f"{name}: a {type(items).__name__} has no length or no items by index; {expected}")
