"""One way in for the images of the calling program: arrays, items, and sources."""

import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxssl.core import UserError
from jaxssl.data.arrays import ArraySource
from jaxssl.data.image_io import Decoder
from jaxssl.data.item_kinds import ARRAY, FILE, PIL, TENSOR, kind_of, words
from jaxssl.data.items import ItemSource
from jaxssl.data.source import DataInput, Source

_TABLES = ("pandas", "polars", "pyarrow")
_MOST_CHANNELS = 4  # of one tensor without an axis of images
_FIELDS = ("name", "channels", "dtype", "classes", "labels", "describe")


def as_source(images: DataInput, name: str, decoder: Decoder, known: tuple[str, ...] = (), labeled: bool = True) -> Source:
  """Makes a source of images of the calling program, with the channels and type of `decoder`. Raises UserError if it cannot.

  `known`: the classes of the training images, if these are test images; `labeled`: whether labels are wanted.
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
    return _checked(items, name, decoder)
  if isinstance(items, jax.Array):
    items = np.asarray(items)  # a device would be asked for every image
  if isinstance(items, np.ndarray) and not (items.ndim == 1 and items.dtype.kind in "OU"):  # those are objects or paths
    return ArraySource(items, labels if labeled else None, name, decoder, known)
  items = _column(items, name)
  _check_collection(items, name)
  return ItemSource(items, labels, name, decoder, known, labeled)


def is_one_image(images: Any) -> bool:
  """Returns whether `images` is one image: a PIL image, a file, or an array or tensor of three axes."""
  kind = kind_of(images)
  return kind in (PIL, FILE) or (kind in (ARRAY, TENSOR) and images.ndim == 3)


def _checked(source: Source, name: str, decoder: Decoder) -> Source:
  attributes = dir(source)  # hasattr would read the labels of TFDS
  if lacking := [field for field in _FIELDS if field not in attributes]:
    raise UserError(f"{name}: {type(source).__name__} lacks {', '.join(lacking)} of jaxssl.data.source.Source")
  if source.channels != decoder.channels or (decoder.bit_depth and source.dtype != decoder.dtype):
    raise UserError(
      f"data.channels={decoder.channels}, data.bit_depth={decoder.bit_depth}: "
      f"{name} is a source of {source.channels} channels of {source.dtype}; set the fields to match"
    )
  return source


def _column(items: Any, name: str) -> Any:
  """Returns a column of a table as a list, since its own index may count from elsewhere. Raises UserError for a whole table."""
  if type(items).__module__.split(".")[0] not in _TABLES:
    return items
  if not hasattr(items, "columns"):
    return list(items)
  columns = ", ".join(map(str, list(getattr(items, "column_names", items.columns))[:10]))
  expected = "expected one column of images or their paths, table['path'], or that and labels, (table['path'], table['label'])"
  raise UserError(f"{name}: a {type(items).__name__} with the columns {columns}; {expected}")


def _check_collection(items: Any, name: str) -> None:
  """Raises UserError for what is not an object with a length and items."""
  kind = kind_of(items)
  if isinstance(items, str | os.PathLike):
    raise UserError(f"{name}: one path, {items}; expected a list of paths; data.path names a folder")
  if kind in (PIL, FILE) or (kind == TENSOR and (items.ndim < 3 or (items.ndim == 3 and items.shape[0] <= _MOST_CHANNELS))):
    raise UserError(f"{name}: one image, {kind}; expected several, e.g. [image]")
  if isinstance(items, Mapping):  # e.g. datasets.DatasetDict
    raise UserError(f"{name}: {words(items)}; expected images, e.g. one of its values")
  if not hasattr(items, "__getitem__") and hasattr(items, "dataset"):  # torch.utils.data.DataLoader
    raise UserError(f"{name}: {words(items)} loads batches; expected single images, e.g. its dataset")
  try:
    len(items)
    items.__getitem__  # noqa: B018
  except (TypeError, AttributeError, NotImplementedError) as error:
    expected = "expected an array, or an object with a length and items: a list, a torch Dataset, a Hugging Face dataset"
    raise UserError(f"{name}: {words(items)} has no length or no items by index; {expected}") from error
