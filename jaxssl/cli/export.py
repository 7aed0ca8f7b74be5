"""`export`: a run's network in a format that others load, checked against the run's own before it appears."""

import json
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxssl.config import flags
from jaxssl.core import log as runlog
from jaxssl.core import paths
from jaxssl.core.errors import UserError, nearest_name
from jaxssl.core.paths import path_of
from jaxssl.export import flax_format, model_card, onnx_format, stablehlo, torch_formats
from jaxssl.export.bundle import ExportBundle, open_bundle
from jaxssl.workdir import results
from jaxssl.workdir.workdir import Workdir

TOLERANCE = 1e-5  # of the largest feature
SEEN = (1, 3)  # random images in the batches of the check: two sizes, because a batch may be of any


class Format(NamedTuple):
  """A format: its file, what writes it into a folder, what loads it from there, and what the card says of its use.

  `write` may give more for config.json.
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


def export(argv: Sequence[str]) -> int:
  """Runs `export --workdir DIR --format FORMAT --out DIR [--step N] [--heads] [--license NAME] [--evals.FIELD=VALUE]`.

  Gives 1 where the check fails; then --out is left as it was.
  """
  parser = flags.Parser(add_help=False, allow_abbrev=False)
  parser.add_argument("--workdir", type=path_of, required=True)
  parser.add_argument("--format", required=True)
  parser.add_argument("--out", type=path_of, required=True)
  parser.add_argument("--step", type=int)
  parser.add_argument("--heads", action="store_true")
  parser.add_argument("--license")
  known, words = flags.known(parser, argv)
  _check_words(known.format, known.out, known.heads)
  runlog.start(None)
  subject = open_bundle(known.workdir, words, known.step, known.heads)
  subject.about["format"] = known.format
  temporary = _folder_beside(known.out)
  try:
    try:
      difference = _make(temporary, subject, known.workdir, known.license)
      if not difference <= TOLERANCE:
        runlog.LOG.error("the exported file gives other features: by %.2g of the largest; nothing is written", difference)
        return 1
      for path in temporary.iterdir():
        path.chmod(0o644)  # safetensors' files are their owner's only
      if not paths.is_local(known.out):
        paths.upload(temporary, known.out)
      else:
        if known.out.exists():
          known.out.rmdir()
        temporary.rename(known.out)
    except OSError as error:
      raise UserError(f"--out {known.out} cannot be written: {error.strerror or error}") from error
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
  which, step = subject.about["network"], subject.about["step"]
  runlog.LOG.info("step %d, %s network: %s; the same features to %.1g of the largest", step, which, known.out, difference)
  return 0


def _check_words(name: str, out: pathlib.Path, heads: bool) -> None:
  if name not in FORMATS:
    allowed = ", ".join(FORMATS)
    raise UserError(f"--format {name} is no format; nearest: {nearest_name(name, list(FORMATS))}; allowed: {allowed}")
  if heads and name != "flax":
    raise UserError(f"--heads is not allowed with --format {name}; only flax holds heads")
  if out.exists() and (not out.is_dir() or any(out.iterdir())):
    raise UserError(f"--out {out} exists and is no empty folder; name another")
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
    raise UserError(f"--out {out} cannot be written: {error.strerror}") from error


def _make(folder: pathlib.Path, subject: ExportBundle, workdir: pathlib.Path, license: str | None) -> float:
  """Writes everything into `folder`, and says how far its features are from the run's, relative to the largest of those."""
  chosen = FORMATS[subject.about["format"]]
  # The processor computes float32 in full; what accelerators make of it is another matter than what the file holds.
  with jax.default_device(jax.local_devices(backend="cpu")[0]), jax.default_matmul_precision("highest"):
    about = subject.about | (chosen.write(folder, subject) or {})
    (folder / "config.json").write_text(json.dumps(about, indent=2) + "\n")
    measured = model_card.of_this(results.read(Workdir(workdir).results), subject.about)
    text = model_card.card(subject, chosen.file, chosen.usage(subject), license, measured)
    (folder / "README.md").write_text(text, encoding="utf-8")
    return compare(subject, chosen.run(folder, subject))


def compare(subject: ExportBundle, run: Callable[[np.ndarray], np.ndarray]) -> float:
  """Runs the network and what was loaded on random images: the largest difference over the largest feature."""
  how, rng = subject.about["preprocessing"], np.random.default_rng(0)
  images = rng.uniform(size=(sum(SEEN), subject.size, subject.size, subject.channels))
  shown = ((images - np.array(how["mean"])) / np.array(how["std"])).astype(np.float32)
  expected = np.asarray(jax.jit(subject.network.encode)(subject.variables, shown))
  found = np.concatenate([run(batch) for batch in np.split(shown, np.cumsum(SEEN)[:-1])])
  if found.shape != expected.shape:
    raise UserError(f"the exported file gives features {found.shape}, the run's network {expected.shape}; nothing is written")
  return float(np.max(np.abs(found - expected)) / (np.max(np.abs(expected)) or 1))
