"""Classifies images by an export or a run, and writes the classes of a folder's images as CSV."""

import collections
import csv
import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import numpy as np

from jaxssl.config.parse import read
from jaxssl.config.schema import DataConfig
from jaxssl.core import LOG, UserError, atomic, image_progress, json_io, path_of, paths, renamed, require, retry
from jaxssl.data.datasets import open_splits
from jaxssl.data.source import DataInput, Source, name_of
from jaxssl.data.unreadable import SkipUnreadable
from jaxssl.evals.load_run import OF_THE_NETWORK
from jaxssl.evals.preprocessing import Preprocessing
from jaxssl.export import onnx_format
from jaxssl.export.flax_format import CONFIG, Pretrained, is_run, load_pretrained, require_classifier
from jaxssl.export.predictions import Predictions, Predictor

NAMED = 10  # classes that the log names
Model = str | pathlib.Path | Pretrained


def predict(model: Model, images: DataInput, *, classifier: str | bool = True) -> Predictions:
  """Classifies images by an export (flax or onnx) or a workdir that has a classifier.

  `model`: a folder, or what `load_pretrained` has returned. `images`: as for `jaxssl.train`. `classifier`: the name of one
  of several in a workdir. Raises UserError, also naming images that are unreadable.
  """
  return open_predictor(model, classifier).predict(images)


def open_predictor(model: Model, classifier: str | bool = True) -> Predictor:
  """Opens a classifier. Raises UserError for a folder without one, and for an export that only other libraries can run."""
  if isinstance(model, Pretrained):
    return model.predictor
  folder = path_of(model)
  if is_run(folder):
    return load_pretrained(folder, classifier=classifier).predictor
  if not (folder / CONFIG).exists():
    raise UserError(f"--model={folder}: neither an export (there is no {CONFIG}) nor a workdir with a classifier")
  config = json_io.read(folder / CONFIG)
  if config.get("format") == "flax":
    return load_pretrained(folder, classifier=classifier).predictor
  if config.get("format") != "onnx":
    expected = "expected flax or onnx, or the run's workdir"
    raise UserError(f"--model={folder}: an export of the format {config.get('format')}, for other libraries; {expected}")
  require_classifier(folder, config, classifier)
  return _open_onnx(folder, config)


def _open_onnx(folder: pathlib.Path, config: Mapping[str, Any]) -> Predictor:
  try:
    preprocessing, names = read(Preprocessing, config["preprocessing"]), tuple(map(str, config["classes"]))
    preprocessing.check()
    values = bool(config.get("with_preprocessing"))
    return Predictor(compute=onnx_format.run(folder), preprocessing=preprocessing, class_names=names, takes_values=values)
  except ImportError as error:
    install = "run pip install 'jaxssl[onnx]', or export the format flax"
    raise UserError(f"--model={folder}: {error.name} is not installed; {install}") from error
  except Exception as error:  # onnxruntime raises types of its own for damaged files
    raise UserError(f"--model={folder}: cannot be loaded: {error}") from error


@renamed("data.path", "--data")
def predict_to_file(
  model: Model,
  data: str | pathlib.Path,
  out: str | pathlib.Path,
  *,
  top: int = 1,
  classifier: str | bool = True,
  changes: Mapping[str, Any] | None = None,
) -> int:
  """Classifies the images of a folder or a zip and writes them to `out`, a .csv; returns their number.

  Columns: image (its path in the folder), class, probability; with `top` = k > 1, also class_2, probability_2, ..., class_k,
  probability_k. `model`, `classifier`: as for `predict`. `changes`: fields of `data`. Unreadable images are logged, counted
  and left out. Raises UserError.
  """
  out = path_of(out)
  if out.suffix != ".csv":
    raise UserError(f"--out={out}: unknown kind of file; expected a name that ends in .csv")
  if out.exists():
    raise UserError(f"--out={out}: exists; remove it, or name another")
  predictor = open_predictor(model, classifier)
  require(1 <= top <= len(predictor.class_names), "--top", top, f"1 to {len(predictor.class_names)}, the number of classes")
  sources = _open(data, predictor.preprocessing, changes or {})
  counts = collections.Counter[str]()
  total = sum(map(len, sources))
  try:
    with paths.uploaded(out) as local, atomic.replacing(local) as temporary:
      # bytes of a file name that are not Unicode are kept, so that the file can be found by the name
      with temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        _write(file, predictor, sources, top, counts)
      if not counts:
        raise UserError(f"--data={data}: all {total} images are unreadable")
  except (OSError, UnicodeEncodeError) as error:  # the latter for class names that are no text
    raise retry.failure(f"--out={out}: cannot be written", error) from error
  count, most = counts.total(), counts.most_common(NAMED)
  classes = ", ".join(f"{name} {n}" for name, n in most) + ", ..." * (len(counts) > NAMED)
  note = f"; {total - count} unreadable images are left out" if total > count else ""
  LOG.info("%d images (%s): %s%s", count, classes, out, note)
  return count


def _open(data: str | pathlib.Path, preprocessing: Preprocessing, changes: Mapping[str, Any]) -> list[Source]:
  """Opens the images with the channels and range of values that the network was trained with."""
  fields: dict[str, Any] = {"source": "folder", "path": str(data)}
  for name, value in changes.items():
    field = name.removeprefix("data.")
    if field in (*fields, *OF_THE_NETWORK) or not name.startswith("data."):
      raise UserError(f"{name}={value}: cannot be set here; expected another field of data, e.g. data.list_path")
    fields[field] = value
  fields |= {"channels": preprocessing.channels, "bit_depth": preprocessing.bit_depth}
  return list(open_splits(read(DataConfig, fields, "data."), 0, whole=True).values())


def _write(file: TextIO, predictor: Predictor, sources: Sequence[Source], top: int, counts: collections.Counter[str]) -> None:
  """Writes a row per image as soon as it is classified, and counts the most probable classes."""
  writer, ranks = csv.writer(file, lineterminator="\n"), ("", *(f"_{k}" for k in range(2, top + 1)))
  writer.writerow(["image", *(f"{name}{rank}" for rank in ranks for name in ("class", "probability"))])
  with image_progress(sum(map(len, sources))) as progress:
    for source in sources:
      images = SkipUnreadable(source, np.arange(len(source)), 0)
      for row, values in enumerate(itertools.chain.from_iterable(predictor.probabilities(images))):
        progress.update()
        if row in images.unreadable:
          continue
        best = np.argsort(-values, kind="stable")[:top].tolist()
        cells = ((predictor.class_names[k], f"{values[k]:.6f}") for k in best)
        writer.writerow([name_of(source, row), *itertools.chain.from_iterable(cells)])
        counts[predictor.class_names[best[0]]] += 1
