"""Writes and loads the format `flax`: a safetensors file with jaxssl's names and a config.json that rebuilds the network."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import numpy as np
from safetensors.numpy import load_file, save_file

from jaxssl.config.parse import read
from jaxssl.config.schema import ModelConfig
from jaxssl.core import Unavailable, UserError, json_io, paths
from jaxssl.core.types import PyTree, Variables
from jaxssl.data.inputs import as_source, is_one_image
from jaxssl.data.source import DataInput
from jaxssl.evals.preprocessing import Preprocessing
from jaxssl.export.bundle import ExportBundle, open_bundle
from jaxssl.export.predictions import Predictions, Predictor, outputs
from jaxssl.models.network import CLASSIFIER, Network, build, from_named, named
from jaxssl.models.nnx_module import as_nnx
from jaxssl.workdir.workdir import Workdir

FILE, CONFIG = "model.safetensors", "config.json"
WITHOUT = "without a classifier; `jaxssl export --classifier` writes one with it"
_encode = jax.jit(Network.encode, static_argnums=0)
_classify = jax.jit(Network.classify, static_argnums=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Description:
  """The part of config.json that defines the network and its input."""

  model: ModelConfig
  precision: Literal["float32", "bfloat16"]
  image_size: int
  preprocessing: Preprocessing
  classes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretrained:
  """A network loaded from an export, with its heads or its classifier if they were exported.

  `config` is the content of config.json. `workdir`: of the run that the network was loaded from instead.
  """

  network: Network
  weights: Variables
  config: Mapping[str, Any]
  workdir: pathlib.Path | None = None

  @property
  def module(self):
    """The encoder as a flax module. module.apply(variables, x, train=False) maps normalized [b, h, w, c] to float32 [b, f]."""
    return self.network.encoder

  @property
  def variables(self) -> dict[str, PyTree]:
    """The encoder's variables: `params` and `batch_stats`."""
    return {"params": self.weights.params["encoder"], "batch_stats": self.weights.stats.get("encoder", {})}

  def nnx(self) -> Any:
    """Returns the encoder as a module of flax.nnx: module(x, train=False) maps normalized [b, h, w, c] to float32 [b, f]."""
    preprocessing = read(Preprocessing, self.config["preprocessing"])
    side = self.config["image_size"]
    return as_nnx(self.module, self.variables, (side, side, preprocessing.channels))

  def embed(self, images: DataInput | Any) -> np.ndarray:
    """Computes the features of images, float32 [n, f], or of one image, [f], as evaluations do.

    `images`: as for `jaxssl.train`, of any size; one image is an array [h, w, c], a torch
    tensor [c, h, w], a PIL image, or the path or bytes of a file. Raises UserError for others and for unreadable images.
    """
    if is_one_image(images):
      return self.embed([images])[0]
    preprocessing = read(Preprocessing, self.config["preprocessing"])
    source = as_source(images, "images", preprocessing.decoder, labeled=False)
    encode = functools.partial(_encode, self.network, self.weights)
    return np.concatenate(list(outputs(encode, preprocessing, source)))

  def predict(self, images: DataInput | Any) -> Predictions:
    """Classifies images, or one image, as for `embed`; the probabilities of one image are [1, c], too.

    A network that was loaded from a workdir classifies by the one classifier that `jaxssl evaluate --keep` has left there,
    with the encoder that this belongs to. Raises UserError without a classifier, and as `embed`.
    """
    return self.predictor.predict([images] if is_one_image(images) else images)

  @functools.cached_property
  def predictor(self) -> Predictor:
    """The classifier. Raises UserError if there is none."""
    if CLASSIFIER in self.weights.params:
      return Predictor(
        compute=functools.partial(_classify, self.network, self.weights),
        preprocessing=read(Preprocessing, self.config["preprocessing"]),
        class_names=tuple(self.config["classes"]),
      )
    if self.workdir is None:
      raise UserError(f"an export {WITHOUT}")
    return load_pretrained(self.workdir, classifier=True).predictor


def load_pretrained(folder: str | pathlib.Path, *, classifier: str | bool = False) -> Pretrained:
  """Loads a network that `jaxssl export --format flax` wrote, or that of the newest checkpoint in a workdir, without heads.

  `classifier`: of a workdir, loads the kept classifier of this name, or the only one if True, and the encoder that it belongs
  to. Raises UserError if the folder holds neither.
  """
  folder = paths.path_of(folder)
  if is_run(folder):
    bundle = open_bundle(folder, classifier=classifier)
    return Pretrained(network=bundle.network, weights=bundle.variables, config=bundle.about, workdir=folder)
  if not folder.exists():
    raise UserError(f"{folder} does not exist; expected the folder of an export of the format flax, or the workdir of a run")
  try:
    config = json_io.read(folder / CONFIG)
    with paths.local_copy(folder / FILE) as file:
      tensors = load_file(file)
  except Unavailable:
    raise
  except Exception as error:  # safetensors raises errors of its own and of NumPy
    raise UserError(f"{folder}: not an export of the format flax: {error}") from error
  if config.get("format") != "flax":
    raise UserError(f"{folder}: an export of the format {config.get('format')}; load_pretrained expects the format flax")
  try:
    fields = (field.name for field in dataclasses.fields(_Description))
    description = read(_Description, {field: config[field] for field in fields if field in config})
    description.preprocessing.check()
    network = build(description.model, description.precision, description.image_size)
  except UserError as error:
    raise UserError(f"{folder / CONFIG}: {error}") from error
  side, channels = description.image_size, description.preprocessing.channels
  like = network.shapes((side, side, channels), len(description.classes))
  if classifier:
    require_classifier(folder, config, classifier)
  try:
    return Pretrained(network=network, weights=from_named(tensors, like, CONFIG), config=config)
  except UserError as error:
    raise UserError(f"{folder / FILE}: {error}") from error


def is_run(folder: pathlib.Path) -> bool:
  """Returns whether a folder is a workdir with weights."""
  workdir = Workdir(folder)
  return workdir.checkpoints.exists() or workdir.classifiers.exists()


def require_classifier(folder: pathlib.Path, config: Mapping[str, Any], name: str | bool) -> None:
  """Raises UserError if an export, by its config.json, has no classifier, or has one of another name."""
  if not config.get("classes"):
    raise UserError(f"{folder}: an export {WITHOUT}")
  about = config.get("classifier")
  found = about.get("name") if isinstance(about, dict) else None
  if name is not True and name != found:
    raise UserError(f"--classifier={name}: the classifier in {folder} is {found}")


def write(folder: pathlib.Path, bundle: ExportBundle) -> None:
  """Writes the weights to `folder`."""
  tensors = {name: np.ascontiguousarray(leaf) for name, leaf in named(bundle.variables).items()}
  save_file(tensors, folder / FILE, {"format": "np"})


def run(folder: pathlib.Path, bundle: ExportBundle) -> Callable[[np.ndarray], np.ndarray]:
  """Loads the export and returns a function from float32 [b, size, size, c] to its output, float32 [b, n]."""
  loaded = load_pretrained(folder)
  compute = _classify if bundle.classes else _encode
  return lambda x: np.asarray(compute(loaded.network, loaded.weights, x))
