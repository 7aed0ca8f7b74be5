"""jaxssl from Python: the commands as functions, with images and an encoder of the calling program's own."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxssl.config import flags
from jaxssl.config.parse import read
from jaxssl.config.schema import Config
from jaxssl.core import paths
from jaxssl.core.errors import UserError
from jaxssl.data.arrays import DataInput, as_source
from jaxssl.data.image_io import dtype_of
from jaxssl.evals import load_run
from jaxssl.report import page
from jaxssl.train import loop
from jaxssl.workdir import results
from jaxssl.workdir.workdir import Workdir


def load_config(file: str, changes: Mapping[str, Any] | None = None) -> Config:
  """Reads a config file such as "configs/nnboot.py:cpu", with fields changed: {"train.epochs": 5}.

  Raises UserError for a file, a recipe, a field or a value that is not allowed.
  """
  name, _, recipe = file.partition(":")
  fields = flags.load(name, recipe)
  for field, value in (changes or {}).items():
    *groups, last = field.split(".")
    group = fields
    for step in groups:
      group = group.setdefault(step, {})
    group[last] = value
  return read(Config, fields)


def train(
  config: Config,
  workdir: str | pathlib.Path,
  *,
  source: DataInput | None = None,
  test: DataInput | None = None,
  encoder: Any = None,
) -> dict[str, Any]:
  """Trains in `workdir`, or goes on there, and gives what results.json holds; "finished" is False where it was stopped.

  `source`, `test`: images in the place of the config's: an array, uint8 or uint16, [n, h, w] or [n, h, w, c], an object
  whose items are such images, either of them in a pair with labels int [n] (which only measure), or a whole
  jaxssl.data.source.Source.
  `encoder`: a flax module in the place of the config's, called as encoder(images [b, h, w, c], train=bool) for [b, f].
  Raises UserError for whatever does not fit.
  """
  config, arrays = _with(config, source, test, encoder)
  loop.train(config, paths.path_of(str(workdir)), arrays, encoder, page.write_report)
  return results.read(Workdir(paths.path_of(str(workdir))).results)


def evaluate(
  workdir: str | pathlib.Path,
  names: Sequence[str] = (),
  *,
  step: int | None = None,
  source: DataInput | None = None,
  test: DataInput | None = None,
  encoder: Any = None,
) -> dict[str, float]:
  """Measures a run again by evaluations such as "knn" (default: those of evals.final): value by name; results.json keeps them.

  `source`, `test` and `encoder` as for `train`: what the run was trained with, where a program gave it.
  """
  workdir = paths.path_of(str(workdir))
  config, arrays = _with(load_run.read_config(workdir, []), source, test, encoder)
  run = load_run.load(workdir, config, step, arrays, encoder)
  names = list(names) or list(config.evals.final)
  run.evaluator.require(names)
  measured = run.evaluator.measure(run.extractor, names)
  results.add(run.workdir.results, run.step, measured)
  return {m.name: m.value for m in measured}


def embed(workdir: str | pathlib.Path, images: DataInput, *, step: int | None = None, encoder: Any = None) -> np.ndarray:
  """Gives the features of images, float32 [n, f], by a run's network as evaluations see them; `images` as for `train`.

  Raises UserError naming the images that cannot be read.
  """
  workdir = paths.path_of(str(workdir))
  config, _ = _with(load_run.read_config(workdir, []), None, None, encoder)
  source = as_source(images, "images", config.data.channels, dtype_of(config.data.bit_depth))
  features, _, unreadable = load_run.load(workdir, config, step, encoder=encoder).embed(source)
  if unreadable:
    first = ", ".join(source.describe(k) for k in unreadable[:3])
    raise UserError(f"{len(unreadable)} of {len(source)} images cannot be read, first: {first}")
  return features


def _with(
  config: Config, source: DataInput | None, test: DataInput | None, encoder: Any
) -> tuple[Config, dict[str, DataInput] | None]:
  """Gives the config with what the program gives in the place of its own, and the images."""
  if encoder is not None:
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, name="custom"))
  if source is None and test is None:
    return config, None
  if source is None:
    raise UserError("test= is given without source=: give both, or neither")
  data = dataclasses.replace(config.data, source="array", path="", test_path="", list_path="", limit=0)
  return dataclasses.replace(config, data=data), {"train": source} | ({} if test is None else {"test": test})
