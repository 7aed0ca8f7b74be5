"""Collects what an export writes: a network that computes in float32, its weights and its description."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax

from jaxssl.config.schema import HeadConfig, ModelConfig
from jaxssl.core import VERSION, UserError, paths
from jaxssl.core.types import Variables
from jaxssl.evals import load_run
from jaxssl.evals.preprocessing import Preprocessing
from jaxssl.models.network import Network

OF_TRAINING = ("init_from", "init_heads", "allow_partial")  # fields of ModelConfig that do not define the network
ALLOWED = ("evals.network", "evals.size", "evals.resize")  # fields that change an export
HEADS = ("projector", "predictor")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportBundle:
  """One network of a run. `about` is the content of its config.json."""

  network: Network
  variables: Variables  # NumPy arrays of the exported modules only
  model: ModelConfig
  preprocessing: Preprocessing
  about: dict[str, Any]

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """(height, width, channels) of the input image."""
    return self.preprocessing.size, self.preprocessing.size, self.preprocessing.channels


def open_bundle(workdir: pathlib.Path, changes: Mapping[str, Any], step: int | None, heads: bool) -> ExportBundle:
  """Opens a run's network to be exported.

  `changes`: values of evals.network, evals.size and evals.resize. Raises UserError for other fields.
  """
  for name in changes:
    if name not in ALLOWED:
      raise UserError(f"{name}: does not change an export; expected {', '.join(ALLOWED)}")
  configured = load_run.read_config(workdir, changes)
  config = dataclasses.replace(configured, train=dataclasses.replace(configured.train, precision="float32"))
  run = load_run.load(workdir, config, step)
  left_out = [name for name in HEADS if not heads or name not in run.variables.params]
  variables = jax.device_get(run.variables)
  for name in left_out:
    variables.params.pop(name, None)
    variables.stats.pop(name, None)
  network = dataclasses.replace(run.network, **dict.fromkeys(left_out))
  model = dataclasses.replace(config.model, **dict.fromkeys(left_out, HeadConfig()))
  path = config.data.path  # of a folder, its name; a path of this machine is not published
  about = {
    "jaxssl": VERSION,
    "method": config.method["name"],
    "bootstrap": config.bootstrap.policy,
    "data": os.path.basename(paths.absolute(path)) if config.data.source == "folder" else path or config.data.source,
    "holdout": config.evals.holdout,
    "epochs": config.train.epochs,
    "batch_size": config.train.batch_size,
    "step": run.step,
    "network": run.which,
    "model": {name: value for name, value in dataclasses.asdict(model).items() if name not in OF_TRAINING},
    "image_size": getattr(network.encoder, "image_size", run.preprocessing.size),
    "precision": "float32",
    "preprocessing": dataclasses.asdict(run.preprocessing),
    "trained_in": configured.train.precision,
    "heads": [name for name in HEADS if name in variables.params],
  }
  return ExportBundle(network=network, variables=variables, model=model, preprocessing=run.preprocessing, about=about)
