"""Exports a run's network to the formats of other libraries and compares features before the files appear."""

import json
import logging
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxssl.core import paths
from jaxssl.core.errors import UserError, nearest_name
from jaxssl.core.paths import path_of
from jaxssl.export import flax_format, model_card, onnx_format, stablehlo, torch_formats
from jaxssl.export.bundle import ExportBundle, open_bundle
from jaxssl.workdir import results
from jaxssl.workdir.workdir import Workdir

LOG = logging.getLogger("jaxssl")
TOLERANCE = 1e-5  # of the largest feature
BATCHES = (1, 3)  # sizes of the batches that are compared: two, because exports take batches of any size


class Format(NamedTuple):
  """A format: the name of its file, and functions that write it to a folder, load it, and describe its use in the model card.

  `write` may return more entries for config.json.
  """

  file: str
  write: Callable[[pathlib.Path, ExportBundle], dict[str, Any] | None]
  run: Callable[[pathlib.Path, ExportBundle], Callable[[np.ndarray], np.ndarray]]
  usage: Callable[[ExportBundle], str]


FORMATS = {
  "flax": Format(flax_format.FILE, flax_format.write, flax_format.run, flax_format.usage),
  "timm": Format(torch_formats.FILE, torch_formats.write_timm, torch_formats.run, torch_formats.usage_timm),
  "torchvision": Format(
    torch_formats.FILE, torch_formats.write_torchvision, torch_formats.run, torch_formats.usage_torchvision
  ),
  "onnx": Format(onnx_format.FILE, onnx_format.write, onnx_format.run, onnx_format.usage),
  "stablehlo": Format(stablehlo.FILE, stablehlo.write, stablehlo.run, stablehlo.usage),
}


class ExportMismatch(Exception):
  """The exported file computes other features than the run's network."""


def export(
  workdir: str | pathlib.Path,
  out: str | pathlib.Path,
  format: str,
  *,
  step: int | None = None,
  heads: bool = False,
  license: str | None = None,
  changes: Mapping[str, Any] | None = None,
) -> float:
  """Writes a run's network to the folder `out`, loads it back, and returns the largest difference of features, relative.

  `format`: a key of FORMATS. `heads`: also projector and predictor. `license`: for the model card. `changes`: evals.network,
  evals.size, evals.resize. Raises ExportMismatch if the difference is too large, and UserError; `out` then stays as it was.
  """
  workdir, out = path_of(workdir), path_of(out)
  _check(format, out, heads)
  bundle = open_bundle(workdir, changes or {}, step, heads)
  bundle.about["format"] = format
  temporary = _folder_beside(out)
  try:
    try:
      difference = _write(temporary, bundle, workdir, license)
      if not difference <= TOLERANCE:
        raise ExportMismatch(
          f"--format={format}: features of the exported file differ by {difference:.2g} of the largest; nothing is written"
        )
      for path in temporary.iterdir():
        path.chmod(0o644)  # safetensors makes files that only their owner can read
      if not paths.is_local(out):
        paths.upload(temporary, out)
      else:
        if out.exists():
          out.rmdir()
        temporary.rename(out)
    except OSError as error:
      raise UserError(f"--out={out}: cannot be written: {error.strerror or error}") from error
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
  which, step = bundle.about["network"], bundle.about["step"]
  LOG.info("step %d, %s network: %s; features agree to %.1g of the largest", step, which, out, difference)
  return difference


def _check(name: str, out: pathlib.Path, heads: bool) -> None:
  if name not in FORMATS:
    raise UserError(
      f"--format={name}: unknown format; expected {', '.join(FORMATS)}; did you mean {nearest_name(name, FORMATS)}?"
    )
  if heads and name != "flax":
    raise UserError(f"--heads: not available with --format={name}; expected --format=flax")
  if out.exists() and (not out.is_dir() or any(out.iterdir())):
    raise UserError(f"--out={out}: exists; expected a new or empty folder")
  if name == "onnx":
    onnx_format.require()


def _folder_beside(out: pathlib.Path) -> pathlib.Path:
  if not paths.is_local(out):
    return pathlib.Path(tempfile.mkdtemp(prefix="jaxssl-"))
  try:
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.absolute().parent))
    folder.chmod(0o755)
    return folder
  except OSError as error:
    raise UserError(f"--out={out}: cannot be written: {error.strerror}") from error


def _write(folder: pathlib.Path, subject: ExportBundle, workdir: pathlib.Path, license: str | None) -> float:
  """Writes all files to `folder` and returns the largest difference of features, relative to the largest feature."""
  chosen = FORMATS[subject.about["format"]]
  # On the CPU, which computes float32 at full precision: the check is of the file, not of an accelerator's rounding.
  with jax.default_device(jax.local_devices(backend="cpu")[0]), jax.default_matmul_precision("highest"):
    about = subject.about | (chosen.write(folder, subject) or {})
    (folder / "config.json").write_text(json.dumps(about, indent=2) + "\n")
    measured = model_card.of_this(results.read(Workdir(workdir).results), subject.about)
    text = model_card.card(subject, chosen.file, chosen.usage(subject), license, measured)
    (folder / "README.md").write_text(text, encoding="utf-8")
    return compare(subject, chosen.run(folder, subject))


def compare(subject: ExportBundle, run: Callable[[np.ndarray], np.ndarray]) -> float:
  """Runs the network and the loaded export on random images; returns the largest difference over the largest feature."""
  how, rng = subject.about["preprocessing"], np.random.default_rng(0)
  images = rng.uniform(size=(sum(BATCHES), subject.size, subject.size, subject.channels))
  shown = ((images - np.array(how["mean"])) / np.array(how["std"])).astype(np.float32)
  expected = np.asarray(jax.jit(subject.network.encode)(subject.variables, shown))
  found = np.concatenate([run(batch) for batch in np.split(shown, np.cumsum(BATCHES)[:-1])])
  if found.shape != expected.shape:
    raise ExportMismatch(f"the exported file returns features {found.shape}, the network {expected.shape}; nothing is written")
  return float(np.max(np.abs(found - expected)) / (np.max(np.abs(expected)) or 1))
