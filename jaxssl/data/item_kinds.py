"""What an item of a program's dataset is: the image in it, alone, with a label, or in a mapping."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from PIL import Image

from jaxssl.data.file_kinds import ENDINGS

PIL, ARRAY, TENSOR, FILE = "a PIL image", "an array", "a torch tensor", "the path or bytes of a file"
EXPECTED = (
  "an image: a PIL image, an array [h, w] or [h, w, c] of uint8 or uint16, a torch tensor [c, h, w], the path or bytes of a "
  "file; or (image, label), or a mapping with image and label"
)
_KEYS = ("image", "img")  # of a mapping


class Item(NamedTuple):
  """An item: its image, what that is (one of the constants above), and what the item is, in words."""

  image: Any
  kind: str
  text: str


def parse(item: Any) -> Item:
  """Finds the image in an item. Raises ValueError, which states what the item is, if there is none."""
  if kind := kind_of(item):
    return Item(item, kind, kind)
  if isinstance(item, Mapping):
    key = next((key for key in _KEYS if key in item), None)
    if key is None or not (kind := kind_of(item[key])):
      raise ValueError(words(item) + ("" if key is None else f", and its {key} is {words(item[key])}"))
    return Item(item[key], kind, f"a mapping with {kind}")
  if isinstance(item, tuple | list) and item and (kind := kind_of(item[0])):
    if others := [str(k) for k, value in enumerate(item[1:], 1) if _is_image(value)]:
      parts = ", ".join(["0", *others])
      raise ValueError(f"{words(item)} in which the parts {parts} seem to be images: return one, since views are cut from it")
    return Item(item[0], kind, f"a {'pair' if len(item) == 2 else 'tuple'} with {kind}")
  raise ValueError(words(item))


def kind_of(image: Any) -> str:
  """Returns what an image is, one of the constants above; empty if it is none. Does not import torch."""
  if isinstance(image, Image.Image):
    return PIL
  if any((base.__module__, base.__name__) == ("torch", "Tensor") for base in type(image).__mro__):
    return TENSOR
  is_file = isinstance(image, str | os.PathLike | bytes | bytearray | memoryview)
  if is_file or (isinstance(image, Mapping) and {"bytes"} <= set(image) <= {"bytes", "path"}):  # Hugging Face, undecoded
    return FILE
  return ARRAY if hasattr(image, "__array__") and getattr(image, "ndim", 1) else ""  # NumPy scalars have no axes


def path_in(item: Item) -> str:
  """Returns the path in an item, with / on every system; empty if it holds the bytes of a file, or no file."""
  image = item.image
  if isinstance(image, Mapping) and item.kind == FILE:
    image = image.get("path") if image["bytes"] is None else None
  path = os.fspath(image) if isinstance(image, str | os.PathLike) else ""
  return path.replace(os.sep, "/") if isinstance(path, str) and "\0" not in path else ""


def _is_image(value: Any) -> bool:
  """Returns whether a part of an item is an image, rather than a label."""
  if isinstance(value, str | os.PathLike):
    return os.fspath(value).lower().endswith(ENDINGS)
  return kind_of(value) == PIL or (kind_of(value) in (ARRAY, TENSOR) and value.ndim > 1)


def words(value: Any) -> str:
  """Describes an item."""
  if value is None:
    return "None"
  if isinstance(value, Mapping):
    return f"a mapping with the keys {', '.join(map(str, list(value)[:10]))}"
  if isinstance(value, tuple | list):
    kind = f"a {type(value).__name__} of {len(value)}"
    return f"{kind}, first {words(value[0])}" if value and isinstance(value[0], tuple | list | Mapping) else kind
  name = type(value).__name__
  return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
