"""The commands as Python functions. Each may be given images and an encoder of the calling program."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxssl.compare.compare import compare
from jaxssl.config.load import load_config, require_config
from jaxssl.config.schema import Config
from jaxssl.core import LOG, UserError, path_of, tree
from jaxssl.data.image_io import Decoder
from jaxssl.data.inputs import as_source
from jaxssl.data.source import DataInput
from jaxssl.evals import kept_classifier, load_run
from jaxssl.evals.embed import embed_to_file
from jaxssl.evals.evaluate_run import evaluate_run
from jaxssl.evals.evaluator import EVALUATIONS
from jaxssl.evals.nearest_images import neighbors
from jaxssl.export.flax_format import load_pretrained
from jaxssl.export.formats import export
from jaxssl.export.predict import predict, predict_to_file
from jaxssl.inspect import inspect_images
from jaxssl.pack.pack import pack
from jaxssl.plan.make_plan import plan
from jaxssl.report import page, summary_files
from jaxssl.report.live import live_curve
from jaxssl.train import loop
from jaxssl.train.metrics import OnMetrics
from jaxssl.train.step_time import StepTimer
from jaxssl.workdir.trained_run import TrainedRun
from jaxssl.workdir.workdir import Workdir

__all__ = ["compare", "embed", "embed_to_file", "evaluate", "export", "inspect", "load_config", "load_pretrained"]
__all__ += ["neighbors", "pack", "plan", "predict", "predict_to_file", "report", "train"]
Path = str | pathlib.Path


def train(
  config: Config,
  workdir: Path,
  *,
  source: DataInput | None = None,
  test: DataInput | None = None,
  encoder: Any = None,
  accept_changes: bool = False,
  on_metrics: OnMetrics | None = None,
  live: bool = False,
) -> TrainedRun:
  """Trains in `workdir`, or resumes the run there; returns its results, history and workdir.

  The result is also a mapping with the contents of results.json; "finished" is False in it if the run was stopped.
  `source`, `test`: images instead of the config's: an array of integers, [n, h, w] or [n, h, w, c]; an object with a
  length and items, such as a list of PIL images or paths, a torch Dataset or a Hugging Face dataset, see `jaxssl.data.items`;
  either of them in a pair with labels, numbers or names [n], for evaluation only; or a jaxssl.data.source.Source.
  `encoder`: a flax module instead of the config's, called as encoder(images [b, h, w, c], train=bool), which returns [b, f]; a
  flax.nnx module need not take `train` and starts from the weights that it has.
  `accept_changes`: resume although the training images, or fields that change what is learned, have changed.
  `on_metrics`: called with {"step": int, "epoch": int, "values": {name: float}} for every line of metrics.jsonl as it is
  written; if it raises an exception, the run is saved, and then that exception is raised here.
  `live`: show the loss as a curve below the notebook's cell.
  Raises UserError.
  """
  require_config(config)
  if on_metrics is not None and not callable(on_metrics):
    raise UserError(f"on_metrics: a {type(on_metrics).__name__}; expected a function of one argument")
  config, arrays = _with_inputs(config, source, test, encoder)
  listener = live_curve(on_metrics) if live else on_metrics
  loop.train(config, path_of(workdir), arrays, encoder, page.write_report, accept_changes, listener)
  return TrainedRun(Workdir(path_of(workdir)))


def inspect(
  images: Path,
  *,
  out: Path | None = None,
  drop_duplicates: bool = False,
  changes: Mapping[str, Any] | None = None,
  estimate: bool = True,
) -> Config:
  """Prints what a folder or zip of images holds and returns a config to train on it; writes it to `out` (.py) if given.

  `drop_duplicates`: the config leaves out training images that are, or may be, duplicates of others or of test images; needs
  `out`, beside which the others are listed.
  `changes`: fields of `data` that the config takes over, e.g. {"data.test_path": "FOLDER"}. `estimate`: time steps of training
  for about a minute, and print how long the config takes on this machine. Raises UserError.
  """
  open_timer = StepTimer if estimate else None
  return inspect_images.inspect(images, out=out, drop_duplicates=drop_duplicates, changes=changes, open_timer=open_timer)


def evaluate(
  workdir: Path,
  names: str | Sequence[str] = (),
  *,
  step: int | None = None,
  keep: bool = False,
  changes: Mapping[str, Any] | None = None,
  source: DataInput | None = None,
  test: DataInput | None = None,
  encoder: Any = None,
) -> dict[str, float]:
  """Evaluates a run by evaluations such as "knn" (default: evals.final), adds to results.json, and returns values by name.

  On other images than those of the run, it also measures the untrained network and raw pixels, and keeps all results apart.
  `changes`: fields of evals and data by dotted path, e.g. {"evals.knn.k": (1, 20), "data.path": "FOLDER"}.
  `keep`: also keep the classifiers for `export(classifier=True)` and `predict`; `names` must then be linear or finetune.
  `source`, `test`, `encoder`: as for `train`; required if the run was trained with them. Raises UserError.
  """
  workdir = path_of(workdir)
  config, arrays = _with_inputs(load_run.read_config(workdir, changes), source, test, encoder)
  names = [names] if isinstance(names, str) else list(names) or list(config.evals.final)
  for name in names:
    EVALUATIONS.find(name)
  if keep:
    kept_classifier.require_fits(names, config.evals.linear)
  run = load_run.load(workdir, config, step, arrays, encoder, not (arrays or load_run.selects_images(changes or {})))
  return evaluate_run(run, names, keep)


def embed(workdir: Path, images: DataInput, *, step: int | None = None, encoder: Any = None) -> np.ndarray:
  """Returns the features float32 [n, f] of images by a run's network, preprocessed as in evaluations; `images` as for `train`.

  Raises UserError naming images that are unreadable.
  """
  workdir = path_of(workdir)
  config, _ = _with_inputs(load_run.read_config(workdir), None, None, encoder)
  source = as_source(images, "images", Decoder.of(config.data), labeled=False)
  if not len(source):
    raise UserError("images: there are none; expected at least one")
  features, unreadable = load_run.load(workdir, config, step, encoder=encoder).embed(source)
  if unreadable:
    examples = ", ".join(source.describe(k) for k in unreadable[:3])
    raise UserError(f"{len(unreadable)} of {len(source)} images are unreadable, e.g. {examples}")
  return features


def report(*workdirs: Path, out: Path | None = None) -> pathlib.Path:
  """Writes a web page about one run, or several side by side; returns its path (default: report.html in the first workdir).

  Beside the page of several runs, writes their measurements as CSV and their table as Markdown, with its name.
  """
  if not workdirs:
    raise UserError("workdirs: there are none; expected at least one")
  runs = [Workdir(path_of(workdir)) for workdir in workdirs]
  path = runs[0].report if out is None else path_of(out)
  if len(runs) > 1 and path.suffix != ".html":
    raise UserError(f"--out={out}: the page is HTML, and .csv and .md are written beside it; expected a name such as runs.html")
  size = page.write([(run, None) for run in runs], path)
  LOG.info("%s, %.1f MB", path, size / 1e6)
  if len(runs) > 1:
    summary_files.write(runs, path)
  return path


def _with_inputs(
  config: Config, source: DataInput | None, test: DataInput | None, encoder: Any
) -> tuple[Config, dict[str, DataInput]]:
  """Returns the config with its images and encoder replaced by those of the calling program, and the images."""
  if source is None and test is not None:
    raise UserError("test: given without source; expected both or neither")
  changes: dict[str, Any] = {} if encoder is None else {"model.name": "custom"}
  if source is not None:
    changes |= {"data.source": "array", "data.path": "", "data.test_path": "", "data.list_path": "", "data.limit": 0}
  arrays = {name: images for name, images in (("train", source), ("test", test)) if images is not None}
  return tree.replace(config, changes), arrays
