"""Collects what an export writes: a network that computes in float32, its weights and its description."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxssl.config.absolute import OF_FILES
from jaxssl.config.schema import Config, HeadConfig, ModelConfig
from jaxssl.core import VERSION, UserError, paths
from jaxssl.core.types import Array, Variables
from jaxssl.evals import kept_classifier, load_run
from jaxssl.evals.preprocessing import Preprocessing, image_shape
from jaxssl.models.network import Network, build, from_named
from jaxssl.workdir.workdir import Workdir

# Fields of ModelConfig that do not define the network
OF_TRAINING = ("init", "zero_init_residual", "init_from", "init_heads", "allow_partial")
ALLOWED = ("evals.network", "evals.size", "evals.resize", "evals.interpolation")  # fields that change an export
HEADS = ("projector", "predictor")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportBundle:
  """One network of a run, with or without a classifier. `about` is the content of its config.json."""

  network: Network
  variables: Variables  # NumPy arrays of the exported modules only
  model: ModelConfig
  preprocessing: Preprocessing
  about: dict[str, Any]
  with_preprocessing: bool = False  # the export takes values of files instead of normalized ones

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """(height, width, channels) of the input image."""
    return self.preprocessing.size, self.preprocessing.size, self.preprocessing.channels

  @property
  def classes(self) -> tuple[str, ...]:
    """The names of the classes; empty without a classifier."""
    return self.about.get("classes", ())

  @property
  def output(self) -> str:
    """What the export computes: "features", or "logits" with a classifier."""
    return "logits" if self.classes else "features"

  @property
  def input_type(self) -> np.dtype:
    """The type of the values that the export takes."""
    return self.preprocessing.decoder.dtype if self.with_preprocessing else np.dtype(np.float32)

  @property
  def compute(self) -> Callable[[Variables, Array], Array]:
    """Maps normalized images [b, h, w, c] to the output, float32 [b, f] or [b, classes]."""
    return self.network.classify if self.classes else self.network.encode

  def exported(self, variables: Variables, images: Array) -> Array:
    """The function that is exported: `compute`, of images [b, h, w, c] of `input_type`."""
    return self.compute(variables, self.preprocessing.scaled(images) if self.with_preprocessing else images)


class _Weights(NamedTuple):
  """A network of a run, and where it comes from."""

  network: Network
  variables: Variables
  which: str  # teacher or student
  step: int
  preprocessing: Preprocessing
  about: dict[str, Any]  # entries of config.json about a classifier


def open_bundle(
  workdir: pathlib.Path,
  changes: Mapping[str, Any] | None = None,
  step: int | None = None,
  heads: bool = False,
  classifier: str | bool = False,
) -> ExportBundle:
  """Opens a run's network to be exported.

  `changes`: values of the fields in ALLOWED. `classifier`: the name of a kept classifier, or True for the only one, which has
  its own step, network and image size. Raises UserError for other fields.
  """
  changes = changes or {}
  for name in changes:
    if name not in ALLOWED:
      raise UserError(f"{name}: does not change an export; expected {', '.join(ALLOWED)}")
  configured = load_run.read_config(workdir, changes)
  config = dataclasses.replace(configured, train=dataclasses.replace(configured.train, precision="float32"))
  if classifier:
    opened = _classifier(workdir, config, "" if classifier is True else classifier, changes, step, heads)
  else:
    run = load_run.load(workdir, config, step)
    opened = _Weights(run.network, jax.device_get(run.variables), run.which, run.step, run.preprocessing, {})
  variables, prep = opened.variables, opened.preprocessing
  left_out = [name for name in HEADS if not heads or name not in variables.params]
  for name in left_out:
    variables.params.pop(name, None)
    variables.stats.pop(name, None)
  network = dataclasses.replace(opened.network, **dict.fromkeys(left_out))
  model = dataclasses.replace(config.model, **dict.fromkeys(left_out, HeadConfig()))
  data = config.data.path or config.data.source
  if config.data.source in OF_FILES or os.path.isabs(data):  # only the name: a path of this machine is not published
    data = os.path.basename(paths.absolute(data))
  about = {
    "jaxssl": VERSION,
    "method": config.method["name"],
    "bootstrap": config.bootstrap.policy,
    "data": data,
    "holdout": config.evals.holdout,
    "epochs": config.train.epochs,
    "batch_size": config.train.batch_size,
    "step": opened.step,
    "network": opened.which,
    "model": {name: value for name, value in dataclasses.asdict(model).items() if name not in OF_TRAINING},
    "image_size": getattr(network.encoder, "image_size", prep.size),
    "precision": "float32",
    "preprocessing": dataclasses.asdict(prep),
    "trained_in": configured.train.precision,
    "heads": [name for name in HEADS if name in variables.params],
    **opened.about,
  }
  return ExportBundle(network=network, variables=variables, model=model, preprocessing=prep, about=about)


def _classifier(
  workdir: pathlib.Path, config: Config, name: str, changes: Mapping[str, Any], step: int | None, heads: bool
) -> _Weights:
  """Reads a kept classifier. Raises UserError for options that contradict it."""
  kept, tensors = kept_classifier.load(Workdir(workdir), name)
  again = "evaluate with it and --keep for another classifier"
  if changes:
    field, value = next(iter(changes.items()))
    raise UserError(f"{field}={value}: the classifier {kept.name} has its own; leave it out, or {again}")
  if step not in (None, kept.step):
    raise UserError(f"--step={step}: the classifier {kept.name} belongs to step {kept.step}; leave it out, or {again}")
  if heads:
    raise UserError("--heads: not available with --classifier; export them separately")
  side, _, channels = image_shape(config)
  network = dataclasses.replace(build(config.model, "float32", side), projector=None, predictor=None)
  try:
    variables = from_named(tensors, network.shapes((side, side, channels), len(kept.classes)), "the run's network")
  except UserError as error:
    raise UserError(f"{Workdir(workdir).classifier(kept.name)}: {error}; keep the classifier again") from error
  about = {"classes": kept.classes, "classifier": kept_classifier.described(kept)}
  return _Weights(network, variables, kept.network, kept.step, kept.preprocessing, about)
