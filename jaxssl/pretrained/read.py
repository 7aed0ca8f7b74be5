"""Reads weights files without running code in them: safetensors, and files of torch.save."""

import argparse
import pathlib
import re
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from jaxssl.core import UserError, paths, retry
from jaxssl.core.tree import flatten

KINDS = {  # first bytes of files that are given by mistake
  b"\x89PNG": "a PNG image",
  b"\xff\xd8\xff": "a JPEG image",
  b"\x89HDF": "an HDF5 file",
  b"\x1f\x8b": "a gzip archive; unpack it",
  b"\x93NUMPY": "a NumPy array without names",
  b"version https://git-lfs": "a git-lfs pointer; fetch the file itself",
  b"<": "a web page; download the file again",
}


def read_tensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Reads all floating point tensors of a weights file, float32, by name; of a folder, its model.safetensors.

  float16 and bfloat16 are converted exactly. The names of nested mappings (`state_dict`, `teacher`) are joined by dots:
  teacher.backbone.cls_token. Raises UserError for a file that is not a weights file, is truncated or contains code.
  """
  path = path / "model.safetensors" if path.is_dir() else path
  try:
    with paths.local_copy(path) as local:
      with local.open("rb") as file:
        start = file.read(64)
      if start[8:9] == b"{":
        tensors = _safetensors(local)
      elif start.startswith((b"PK\x03\x04", b"\x80")):
        tensors = _torch(local, zipped=start.startswith(b"PK"))
      else:
        other = f"a file that starts with {start[:8]!r}" if start else "empty"
        kind = next((kind for head, kind in KINDS.items() if start.startswith(head)), other)
        raise UserError(f"model.init_from={path}: not a weights file but {kind}; expected safetensors or a .pth file of torch")
  except FileNotFoundError as error:
    expected = "expected a weights file, the folder of an export, or the workdir of a run"
    raise UserError(f"model.init_from={path}: does not exist; {expected}") from error
  except OSError as error:
    raise retry.failure(f"model.init_from={path} cannot be read", error) from error
  if not tensors:
    raise UserError(f"model.init_from={path}: the file has no named floating point tensors")
  return tensors


def _safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    tensors = safetensors.numpy.load_file(path)
  except Exception as error:  # its own types for damaged files, NumPy's for unknown dtypes and odd shapes
    problem = re.search(r"incomplete|invalid header length", str(error), re.IGNORECASE)
    raise UserError(f"model.init_from={path}: {'truncated' if problem else 'not a safetensors file'}: {error}") from error
  # bfloat16 comes from ml_dtypes, whose kind is not "f".
  return {name: x.astype(np.float32) for name, x in tensors.items() if x.dtype.kind not in "biuc"}


def _check_archive(path: pathlib.Path) -> None:
  try:
    with zipfile.ZipFile(path) as archive:
      entries = archive.infolist()
  except Exception as error:  # zipfile raises many types for damaged archives
    raise UserError(f"model.init_from={path}: truncated or damaged: {error}") from error
  if any(entry.filename.endswith("/constants.pkl") for entry in entries):
    raise UserError(f"model.init_from={path}: a TorchScript program; save its state_dict instead")
  if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):  # a few bytes may stand for terabytes
    raise UserError(f"model.init_from={path}: a compressed archive; unpack it, or save a state_dict with torch.save")
  if not any(entry.filename.endswith("/data.pkl") for entry in entries):
    raise UserError(f"model.init_from={path}: an archive that torch.save did not write; expected a state_dict")


def _torch(path: pathlib.Path, zipped: bool) -> dict[str, np.ndarray]:
  if zipped:
    _check_archive(path)
  try:
    import torch  # pyright: ignore[reportMissingImports] (an extra)
  except ImportError as error:
    raise UserError(
      f"model.init_from={path}: a file of torch needs torch; pip install 'jaxssl[torch]', or convert the file to safetensors"
    ) from error
  # NumPy scalars, such as a learning rate, are data without code; their name depends on the NumPy version.
  scalar: Any = np.float64(0).__reduce__()[0]
  scalars = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
  allowed: list[Any] = [argparse.Namespace, np.dtype, type(np.dtype(np.float64)), type(np.dtype(np.int64)), *scalars]
  try:
    with warnings.catch_warnings(), torch.serialization.safe_globals(allowed):
      warnings.simplefilter("ignore")
      tree = torch.load(path, map_location="cpu", weights_only=True)
    leaves = flatten(tree) if isinstance(tree, Mapping) else {}
    tensors = {name: x for name, x in leaves.items() if isinstance(x, torch.Tensor) and x.is_floating_point()}
    for name, x in tensors.items():
      if x.numel() * x.element_size() > x.untyped_storage().nbytes():  # with strides of 0, a few bytes make terabytes
        raise ValueError(f"{name} is larger than its storage")
    return {name: x.detach().to(torch.float32).numpy() for name, x in tensors.items()}
  except Exception as error:  # torch raises a dozen types for files that it did not write
    reason = str(error).strip().partition("\n")[0][:150] or type(error).__name__
    if type(error).__name__ == "UnpicklingError":
      code = re.search(r"GLOBAL (\S+)", str(error))
      reason = f"it may contain code, which was not run{f' ({code[1]})' if code else ''}; save the state_dict alone"
    raise UserError(f"model.init_from={path}: torch cannot read it: {reason}") from error
