"""Writes and loads the format `flax`: a safetensors file with jaxssl's names and a config.json that rebuilds the network."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import numpy as np
from safetensors.numpy import load_file, save_file

from jaxssl.config.parse import read
from jaxssl.config.schema import ModelConfig
from jaxssl.core import UserError, json_io, paths
from jaxssl.core.types import PyTree, Variables
from jaxssl.data.input_pipeline import read_ahead
from jaxssl.data.inputs import as_source, is_one_image
from jaxssl.data.source import DataInput
from jaxssl.evals.preprocessing import Preprocessing
from jaxssl.export.bundle import ExportBundle, open_bundle
from jaxssl.models.network import Network, build, named
from jaxssl.workdir.workdir import Workdir

FILE, CONFIG = "model.safetensors", "config.json"
PART = 256  # images embedded at once
_encode = jax.jit(Network.encode, static_argnums=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Description:
  """The part of config.json that defines the network and its input."""

  model: ModelConfig
  precision: Literal["float32", "bfloat16"]
  image_size: int
  preprocessing: Preprocessing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretrained:
  """A network loaded from an export, with its heads if they were exported. `config` is the content of config.json."""

  network: Network
  weights: Variables
  config: Mapping[str, Any]

  @property
  def module(self):
    """The encoder as a flax module. module.apply(variables, x, train=False) maps normalized [b, h, w, c] to float32 [b, f]."""
    return self.network.encoder

  @property
  def variables(self) -> dict[str, PyTree]:
    """The encoder's variables: `params` and `batch_stats`."""
    return {"params": self.weights.params["encoder"], "batch_stats": self.weights.stats.get("encoder", {})}

  def embed(self, images: DataInput | Any) -> np.ndarray:
    """Computes the features of images, float32 [n, f], or of one image, [f], as evaluations do.

    `images`: as for `jaxssl.train`, of any size; one image is an array [h, w, c], a torch
    tensor [c, h, w], a PIL image, or the path or bytes of a file. Raises UserError for others and for unreadable images.
    """
    if is_one_image(images):
      return self.embed([images])[0]
    preprocessing = read(Preprocessing, self.config["preprocessing"])
    source = as_source(images, "images", preprocessing.decoder, labeled=False)
    features = []
    for start in range(0, max(len(source), 1), PART):
      rows = range(start, min(start + PART, len(source)))
      resized = np.zeros((len(rows), preprocessing.size, preprocessing.size, source.channels), source.dtype)
      for place, image in enumerate(read_ahead(lambda k: preprocessing.resized(source.read(k)), rows, 0, PART)):
        resized[place] = image
      features.append(_encode(self.network, self.weights, preprocessing.normalized(resized)))
    return np.concatenate(features)


def load_pretrained(folder: str | pathlib.Path) -> Pretrained:
  """Loads a network that `jaxssl export --format flax` wrote, or that of the newest checkpoint in a workdir, without heads.

  Raises UserError if the folder holds neither.
  """
  folder = paths.path_of(folder)
  if Workdir(folder).checkpoints.exists():
    bundle = open_bundle(folder, {}, None, heads=False)
    return Pretrained(network=bundle.network, weights=bundle.variables, config=bundle.about)
  if not folder.exists():
    raise UserError(f"{folder} does not exist; expected the folder of an export of the format flax, or the workdir of a run")
  try:
    config = json_io.read(folder / CONFIG)
    with paths.local_copy(folder / FILE) as file:
      tensors = load_file(file)
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
  like = jax.eval_shape(lambda: network.init(jax.random.key(0), (side, side, channels)))
  in_file, in_network = ({name: f"{x.dtype} {x.shape}" for name, x in tree.items()} for tree in (tensors, named(like)))
  if wrong := sorted(dict(in_file.items() ^ in_network.items())):
    differences = [f"{name}: {in_file.get(name)} in the file, {in_network.get(name)} in the network" for name in wrong[:5]]
    raise UserError(f"{folder / FILE}: {len(wrong)} tensors do not match {CONFIG}: {'; '.join(differences)}")
  filled = jax.tree.unflatten(jax.tree.structure(like), [tensors[name] for name in named(like)])
  return Pretrained(network=network, weights=filled, config=config)


def write(folder: pathlib.Path, bundle: ExportBundle) -> None:
  """Writes the weights to `folder`."""
  tensors = {name: np.ascontiguousarray(leaf) for name, leaf in named(bundle.variables).items()}
  save_file(tensors, folder / FILE, {"format": "np"})


def run(folder: pathlib.Path, bundle: ExportBundle) -> Callable[[np.ndarray], np.ndarray]:
  """Loads the export and returns a function from float32 [b, size, size, c] to features, float32 [b, f]."""
  loaded = load_pretrained(folder)
  return lambda x: np.asarray(_encode(loaded.network, loaded.weights, x))
