"""The network that an export writes: it computes in float32 and comes with its weights and its description."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax

from jaxssl.config.schema import Config, HeadConfig, ModelConfig
from jaxssl.core import paths
from jaxssl.core.errors import UserError
from jaxssl.core.types import PyTree, Variables
from jaxssl.core.version import VERSION
from jaxssl.evals import load_run
from jaxssl.evals.load_run import LoadedRun
from jaxssl.models.network import Network

# Fields of ModelConfig that define the network. model.init_from, the source of its first weights, does not.
MAKES = ("name", "width", "stem", "bn_groups", "depth", "patch", "drop_path", "position_offset", "projector", "predictor")
ALLOWED = ("network", "size", "resize")  # fields of evals that change an export
HEADS = ("projector", "predictor")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportBundle:
  """One network of a run. `about` is the content of its config.json."""

  network: Network
  variables: Variables  # NumPy arrays of the exported modules only
  model: ModelConfig
  about: dict[str, Any]

  @property
  def size(self) -> int:
    """The side of the network's input image, in pixels."""
    return self.about["preprocessing"]["size"]

  @property
  def channels(self) -> int:
    """The channels of the input image."""
    return self.about["preprocessing"]["channels"]

  def encoder(self) -> tuple[PyTree, PyTree]:
    """Returns the encoder's parameters and statistics for images of `size` pixels, to which positions are interpolated."""
    return self.network.resized(self.variables, self.size)[1], self.variables.stats.get("encoder", {})


def open_bundle(workdir: pathlib.Path, changes: Mapping[str, Any], step: int | None, heads: bool) -> ExportBundle:
  """Opens a run's network to be exported.

  `changes`: values of evals.network, evals.size and evals.resize. Raises UserError for other fields.
  """
  allowed = [f"evals.{field}" for field in ALLOWED]
  for name in changes:
    if name not in allowed:
      raise UserError(f"{name}: does not change an export; expected {', '.join(allowed)}")
  config = load_run.read_config(workdir, changes)
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
    "image_size": getattr(network.encoder, "image_size", run.preprocessing.size),
    "precision": "float32",
    "preprocessing": dataclasses.asdict(run.preprocessing),
  }


def data_name(config: Config) -> str:
  """Returns the name of the training set, without the path of its folder on this machine."""
  path = config.data.path
  return os.path.basename(paths.absolute(path)) if config.data.source == "folder" else path or config.data.source
