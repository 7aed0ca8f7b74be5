"""Weights files of others, read without running any code of theirs: safetensors, and what torch.save wrote."""

import argparse
import pathlib
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from jaxssl.core import paths
from jaxssl.core.errors import UserError
from jaxssl.pretrained import pickles

KINDS = {  # how files begin that are given by mistake
  b"\x89PNG": "a PNG image",
  b"\xff\xd8\xff": "a JPEG image",
  b"\x89HDF": "an HDF5 file",
  b"\x1f\x8b": "a gzip file: unpack it",
  b"\x93NUMPY": "a numpy array without names",
  b"version https://git-lfs": "a git-lfs pointer: fetch the file itself",
  b"<": "a web page: the download went wrong",
}


def read_tensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Reads all floating point tensors of a weights file, float32, by name; a folder stands for its model.safetensors.

  float16 and bfloat16 become float32 exactly. Mappings inside mappings (`state_dict`, `teacher`) are joined by dots:
  teacher.backbone.cls_token. Raises UserError for what is no weights file, is cut off, or holds code.
  """
  path = path / "model.safetensors" if path.is_dir() else path
  try:
    with paths.local_copy(path) as here:
      return _read_local(here)
  except OSError as error:
    raise UserError(f"model.init_from={path} cannot be read: {error.strerror or error}") from error


def _read_local(path: pathlib.Path) -> dict[str, np.ndarray]:
  with path.open("rb") as file:
    start = file.read(64)
    size = file.seek(0, 2)
  if start[8:9] == b"{":
    found = _safetensors(path)
  elif start.startswith((b"PK\x03\x04", b"\x80")):
    found = _torch(path)
  else:
    what = next((kind for head, kind in KINDS.items() if start.startswith(head)), _what(start, size))
    raise UserError(f"model.init_from={path} is no weights file but {what}; allowed: safetensors, torch's .pth")
  if not found:
    raise UserError(f"model.init_from={path} holds no tensors with names")
  return found


def _what(start: bytes, size: int) -> str:
  if not size:
    return "empty"
  return "text" if start.isascii() and not set(start) & set(range(7)) else f"something that starts with {start[:8].hex(' ')}"


def _safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    tensors = safetensors.numpy.load_file(path)
  except Exception as error:  # of damaged files it raises its own, of types that numpy lacks and of odd shapes numpy's
    cut = "incomplete" in str(error) or "invalid header length" in str(error)
    raise UserError(f"model.init_from={path} {'is cut off' if cut else 'is no safetensors file'}: {error}") from error
  # bfloat16 is numpy's by way of ml_dtypes, so its kind is not "f"
  return {name: x.astype(np.float32) for name, x in tensors.items() if x.dtype.kind not in "biuc"}


def _torch(path: pathlib.Path) -> dict[str, np.ndarray]:
  pickles.refuse_code(path)
  try:
    import torch  # pyright: ignore[reportMissingImports] (an extra)
  except ImportError as error:
    raise UserError(
      f"model.init_from={path} is torch's: pip install 'jaxssl[torch]', or convert it to safetensors where torch is"
    ) from error
  # numpy's scalars, such as a learning rate: classes without code, under the names of old and of new versions
  scalar: Any = np.float64(0).__reduce__()[0]
  allowed: list[Any] = [argparse.Namespace, np.dtype, type(np.dtype(np.float64)), type(np.dtype(np.int64))]
  allowed += [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
  try:
    with warnings.catch_warnings(), torch.serialization.safe_globals(allowed):
      warnings.simplefilter("ignore")
      tree = torch.load(path, map_location="cpu", weights_only=True)
    tensors = {name: x for name, x in _flat(tree) if isinstance(x, torch.Tensor) and x.is_floating_point()}
    for name, x in tensors.items():
      if x.numel() * x.element_size() > x.untyped_storage().nbytes():  # by strides of 0, a few bytes make terabytes
        raise ValueError(f"{name} is larger than what is stored of it")
    return {name: x.detach().to(torch.float32).numpy() for name, x in tensors.items()}
  except Exception as error:  # torch raises a dozen types for files that it did not write
    raise UserError(f"model.init_from={path} cannot be read as torch's: {_reason(error)}") from error


def _reason(error: Exception) -> str:
  named = re.search(r"GLOBAL (\S+)", str(error))
  return f"it would call {named[1]}" if named else str(error).strip().partition("\n")[0][:150] or type(error).__name__


def _flat(tree: object, where: str = "") -> Iterator[tuple[str, Any]]:
  """Walks mappings inside mappings; an optimizer's state is under numbers, and so left out."""
  if isinstance(tree, Mapping):
    for name, value in tree.items():
      if isinstance(name, str):
        yield from _flat(value, f"{where}{name}.") if isinstance(value, Mapping) else [(where + name, value)]
