"""What is exported: a network that computes in float32, its weights, and all that is known about them."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxssl.config.schema import Config, HeadConfig, ModelConfig
from jaxssl.core import paths
from jaxssl.core.errors import UserError
from jaxssl.core.types import PyTree, Variables
from jaxssl.core.version import VERSION
from jaxssl.evals import load_run
from jaxssl.evals.load_run import LoadedRun
from jaxssl.models.network import Network
from jaxssl.models.vit import ViT, positions

# Fields of ModelConfig that make the network; where its first weights came from is not among them.
MAKES = ("name", "width", "stem", "bn_groups", "depth", "patch", "drop_path", "position_offset", "projector", "predictor")
ALLOWED = ("network", "size", "resize")  # of evals: which network, and the image that it is shown
HEADS = ("projector", "predictor")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportBundle:
  """One network of one run. `about`: what config.json says of it, plain JSON."""

  network: Network
  variables: Variables  # numpy, of the modules that are exported and no others
  model: ModelConfig
  about: dict[str, Any]

  @property
  def size(self) -> int:
    """Side in pixels of the image that the network is shown."""
    return self.about["preprocessing"]["size"]

  @property
  def channels(self) -> int:
    """Channels of that image."""
    return self.about["preprocessing"]["channels"]

  def encoder(self) -> tuple[PyTree, PyTree]:
    """Gives the encoder's parameters and statistics for images of `size`: a ViT's positions are fitted to it."""
    params, stats = self.variables.params["encoder"], self.variables.stats.get("encoder", {})
    module = self.network.encoder
    if isinstance(module, ViT):
      if self.size % module.patch:
        raise UserError(f"evals.size={self.size} is not allowed: model.patch={module.patch} does not divide it")
      side = self.size // module.patch
      fitted = positions(jax.numpy.asarray(params["pos_embed"]), (side, side), module.position_offset)
      params = {**params, "pos_embed": np.asarray(fitted)}
    return params, stats


def open_bundle(workdir: pathlib.Path, words: Sequence[str], step: int | None, heads: bool) -> ExportBundle:
  """Opens a run's network to be exported.

  `words`: --evals.network, --evals.size and --evals.resize. Raises UserError for others, and where there is no such network.
  """
  for word in words:
    name = word.partition("=")[0].removeprefix("--").removeprefix("config.")
    if name not in [f"evals.{field}" for field in ALLOWED]:
      raise UserError(f"{word} is not allowed here; allowed: {', '.join(f'--evals.{field}' for field in ALLOWED)}; see --help")
  config = load_run.read_config(workdir, words)
  trained_in = config.train.precision
  config = dataclasses.replace(config, train=dataclasses.replace(config.train, precision="float32"))
  run = load_run.load(workdir, config, step)
  whole, network = run.variables, run.network
  kept = ["encoder", *(name for name in HEADS if heads and name in whole.params)]
  variables = Variables(
    params={name: jax.device_get(whole.params[name]) for name in kept},
    stats={name: jax.device_get(whole.stats[name]) for name in kept if name in whole.stats},
  )
  gone = {name: None for name in HEADS if name not in kept}
  network = dataclasses.replace(network, **gone)
  model = dataclasses.replace(config.model, **{name: HeadConfig() for name in gone})
  about = _about(run, model, network) | {"trained_in": trained_in, "heads": kept[1:]}
  return ExportBundle(network=network, variables=variables, model=model, about=json.loads(json.dumps(about)))


def _about(run: LoadedRun, model: ModelConfig, network: Network) -> dict[str, Any]:
  config, model_fields = run.config, dataclasses.asdict(model)
  return {
    "jaxssl": VERSION,
    "method": config.method["name"],
    "bootstrap": config.bootstrap.policy,
    "data": data_name(config),
    "epochs": config.train.epochs,
    "batch_size": config.train.batch_size,
    "step": run.step,
    "network": run.which,
    "model": {name: model_fields[name] for name in MAKES},
    "image_size": network.encoder.image_size if isinstance(network.encoder, ViT) else run.preprocessing.size,
    "precision": "float32",
    "preprocessing": dataclasses.asdict(run.preprocessing),
  }


def data_name(config: Config) -> str:
  """Names the training images without the folder of this machine that they lie in."""
  path = config.data.path
  return os.path.basename(paths.absolute(path)) if config.data.source == "folder" else path or config.data.source
