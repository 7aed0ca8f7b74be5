"""jaxssl from Python: the commands as functions, with pictures and an encoder of the calling program's own."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxssl import flags, loop, opened, parallel, paths, results
from jaxssl.config import Config
from jaxssl.data.arrays import Given, given
from jaxssl.data.every import Readable
from jaxssl.data.pictures import dtype_of
from jaxssl.evals.encode import encode
from jaxssl.evals.measure import network_of
from jaxssl.fields import read
from jaxssl.types import UserError


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
  config: Config, workdir: str | pathlib.Path, *, source: Given | None = None, test: Given | None = None, encoder: Any = None
) -> dict[str, Any]:
  """Trains in `workdir`, or goes on there, and gives what results.json holds; "finished" is False where it was stopped.

  `source`, `test`: pictures in the place of the config's: an array, uint8 or uint16, [n, h, w] or [n, h, w, c], an object
  whose items are such pictures, either of them in a pair with labels int [n] (which only measure), or a whole
  jaxssl.data.base.Source.
  `encoder`: a flax module in the place of the config's, called as encoder(images [b, h, w, c], train=bool) for [b, f].
  Raises UserError for whatever does not fit.
  """
  config, arrays = _with(config, source, test, encoder)
  loop.train(config, paths.path_of(str(workdir)), arrays, encoder)
  return results.read(paths.path_of(str(workdir)) / "results.json")


def evaluate(
  workdir: str | pathlib.Path,
  names: Sequence[str] = (),
  *,
  step: int | None = None,
  source: Given | None = None,
  test: Given | None = None,
  encoder: Any = None,
) -> dict[str, float]:
  """Measures a run again by evaluations such as "knn" (default: those of evals.end): value by name; results.json keeps them.

  `source`, `test` and `encoder` as for `train`: what the run was trained with, where a program gave it.
  """
  workdir = paths.path_of(str(workdir))
  config, arrays = _with(opened.read_config(workdir, []), source, test, encoder)
  online, teacher, at, measure = opened.open_run(workdir, config, step, arrays, encoder)
  wanted: Any = list(names) or list(config.evals.end)
  measure.require(wanted)
  found = measure.of(online, teacher, wanted)
  results.add(workdir / "results.json", at, found)
  return {m.name: m.value for m in found}


def embed(workdir: str | pathlib.Path, pictures: Given, *, step: int | None = None, encoder: Any = None) -> np.ndarray:
  """Gives the features of pictures, float32 [n, f], by a run's network as evaluations see them; `pictures` as for `train`.

  Raises UserError naming the pictures that cannot be read.
  """
  workdir = paths.path_of(str(workdir))
  config, _ = _with(opened.read_config(workdir, []), None, None, encoder)
  network, online, teacher, _ = opened.open_network(workdir, config, step, encoder)
  variables = teacher if teacher is not None and network_of(config, True) == "teacher" else online
  mesh, source = parallel.make_mesh(), given(pictures, "pictures", config.data.channels, dtype_of(config.data.depth))
  store_size = config.data.store_size if config.data.placement == "device" else 0
  shown = Readable(source, np.arange(len(source)), store_size)
  features, _ = encode(config, mesh, network, parallel.everywhere(mesh, variables), shown)
  if shown.bad:
    bad = ", ".join(source.describe(k) for k in sorted(shown.bad)[:3])
    raise UserError(f"{len(shown.bad)} of {len(source)} pictures cannot be read, first: {bad}")
  return features


def _with(config: Config, source: Given | None, test: Given | None, encoder: Any) -> tuple[Config, dict[str, Given] | None]:
  """Gives the config with what the program gives in the place of its own, and the pictures."""
  if encoder is not None:
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, name="custom"))
  if source is None and test is None:
    return config, None
  if source is None:
    raise UserError("test= is given without source=: give both, or neither")
  data = dataclasses.replace(config.data, source="array", path="", test_path="", list_path="", limit=0)
  return dataclasses.replace(config, data=data), {"train": source} | ({} if test is None else {"test": test})
