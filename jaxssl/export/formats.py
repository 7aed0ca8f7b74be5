"""Exports a run's network to the formats of other libraries and compares its output before the files appear."""

import dataclasses
import json
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxssl.core import LOG, UserError, path_of, paths, retry, unknown_name
from jaxssl.export import flax_format, model_card, onnx_format, stablehlo, torch_formats
from jaxssl.export.bundle import ExportBundle, open_bundle
from jaxssl.models.network import CLASSIFIER
from jaxssl.workdir import results
from jaxssl.workdir.workdir import Workdir

TOLERANCE = 1e-5  # of `_scale`
BATCHES = (1, 3)  # batch sizes that are compared; two, because exports accept any
# Each module has FILE, the name of the file with the weights, and two functions:
#   write(folder, bundle) writes the file and may return more entries for config.json.
#   run(folder, bundle) loads it and returns a function from float32 [b, size, size, c] to the output, float32 [b, n].
FORMATS = {
  "flax": flax_format,
  "timm": torch_formats,
  "torchvision": torch_formats,
  "onnx": onnx_format,
  "stablehlo": stablehlo,
}
PROGRAMS = ("onnx", "stablehlo")  # formats that may contain the preprocessing


class ExportMismatch(UserError):
  """The exported file computes other features or logits than the run's network."""

  exit_code = 1


def export(
  workdir: str | pathlib.Path,
  out: str | pathlib.Path,
  format: str,
  *,
  step: int | None = None,
  heads: bool = False,
  classifier: str | bool = False,
  with_preprocessing: bool = False,
  license: str | None = None,
  changes: Mapping[str, Any] | None = None,
) -> float:
  """Writes a run's network to the folder `out`, loads it back, and returns the largest difference of its output, relative.

  `format`: a key of FORMATS. `heads`: also projector and predictor. `classifier`: the network that a kept classifier of this
  name belongs to (True: the only one), and the classifier: the output is then logits, not features. `with_preprocessing`: the
  file takes the values of image files (uint8; uint16 with more than 8 bits) and normalizes them; images must still be resized.
  `license`: for the model card. `changes`: see `open_bundle`. Raises ExportMismatch if the difference is too large, and
  UserError; `out` then stays as it was.
  """
  workdir, out = path_of(workdir), path_of(out)
  if format not in FORMATS:
    raise unknown_name(f"--format={format}: unknown format", format, FORMATS)
  if heads and format != "flax":
    raise UserError(f"--heads: not available with --format={format}; expected --format=flax")
  if with_preprocessing and format not in PROGRAMS:
    raise UserError(f"--with-preprocessing: not available with --format={format}; expected --format={' or '.join(PROGRAMS)}")
  if out.exists() and (not out.is_dir() or any(out.iterdir())):
    raise UserError(f"--out={out}: exists; expected a new or empty folder")
  bundle = open_bundle(workdir, changes, step, heads, classifier)
  bundle = dataclasses.replace(bundle, with_preprocessing=with_preprocessing)
  bundle.about.update(format=format, with_preprocessing=with_preprocessing)
  empty = out.exists()  # may be the current folder, a link or a mount, which nothing can replace
  beside = (out if empty else out.absolute().parent) if paths.is_local(out) else None
  try:
    if beside:
      beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".jaxssl-", dir=beside) as temporary:
      folder = pathlib.Path(temporary) / "export"
      folder.mkdir()
      difference = _write(folder, bundle, workdir, license)
      if not difference <= TOLERANCE:
        problem = f"{bundle.output} of the exported file differ by {difference:.2g} of the largest; nothing is written"
        raise ExportMismatch(f"--format={format}: {problem}")
      for path in folder.iterdir():
        path.chmod(0o644)  # safetensors makes files that only their owner can read
      if not beside:
        paths.upload(folder, out)
      elif empty:
        for path in folder.iterdir():
          path.rename(out / path.name)
      else:
        folder.rename(out)
  except OSError as error:
    raise retry.failure(f"--out={out}: cannot be written", error) from error
  about = bundle.about
  which = f"{about['network']} network" + (f", {about['classifier']['name']}" if bundle.classes else "")
  LOG.info("step %d, %s: %s; %s agree to %.1g of the largest", about["step"], which, out, bundle.output, difference)
  return difference


def _write(folder: pathlib.Path, bundle: ExportBundle, workdir: pathlib.Path, license: str | None) -> float:
  """Writes all files, loads them and compares the outputs for random images: the largest difference over `_scale`."""
  chosen = FORMATS[bundle.about["format"]]
  # On the CPU, which computes float32 at full precision: the check is of the file, not of an accelerator's rounding.
  with jax.default_device(jax.local_devices(backend="cpu")[0]), jax.default_matmul_precision("highest"):
    bundle.about.update(chosen.write(folder, bundle) or {})
    (folder / "config.json").write_text(json.dumps(bundle.about, indent=2) + "\n")
    card = model_card.card(bundle, chosen.FILE, license, results.read(Workdir(workdir).results))
    (folder / "README.md").write_text(card, encoding="utf-8")
    prep, brightest = bundle.preprocessing, 2**bundle.preprocessing.bit_depth - 1
    images = np.random.default_rng(0).integers(0, brightest, (sum(BATCHES), *bundle.image_shape), np.uint16, endpoint=True)
    x = ((images / brightest - np.array(prep.mean)) / np.array(prep.std)).astype(np.float32)
    given = images.astype(bundle.input_type) if bundle.with_preprocessing else x
    run, expected = chosen.run(folder, bundle), np.asarray(jax.jit(bundle.compute)(bundle.variables, x))
    actual = np.concatenate([run(batch) for batch in np.split(given, np.cumsum(BATCHES)[:-1])])
    return float(np.max(np.abs(actual - expected)) / (_scale(bundle, x) or 1))


def _scale(bundle: ExportBundle, x: np.ndarray) -> float:
  """Returns the largest feature or, with a classifier, the largest sum of the terms of a logit, which may nearly cancel."""
  terms = np.abs(jax.jit(bundle.network.encode)(bundle.variables, x))
  if bundle.classes:
    head = bundle.variables.params[CLASSIFIER]
    terms = terms @ np.abs(head["kernel"]) + np.abs(head["bias"])[None]
  return float(np.max(terms))
