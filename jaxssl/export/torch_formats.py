"""Writes the formats `timm` and `torchvision`: safetensors under torch names, for the models of these libraries."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from safetensors.numpy import load_file, save_file

from jaxssl.core import require
from jaxssl.export.bundle import ExportBundle
from jaxssl.models.backbone import backbone
from jaxssl.models.network import CLASSIFIER
from jaxssl.pretrained.torch_names import from_torch, to_torch

FILE = "model.safetensors"


def write(folder: pathlib.Path, bundle: ExportBundle) -> dict[str, Any]:
  """Writes the weights and returns the entry for config.json. Raises UserError if the library has no such model."""
  library, model, (_, size, channels) = bundle.about["format"], backbone(bundle.model), bundle.image_shape
  name, options = model.timm(channels, size)
  if library == "torchvision":
    require(model.in_torchvision, "model.name", model.name, "a ResNet for --format=torchvision; timm takes others")
    require(channels == 3, "data.channels", channels, "3 for --format=torchvision; timm takes others")
  tensors = to_torch(bundle.network.resized(bundle.variables, size)[1])
  if head := bundle.variables.params.get(CLASSIFIER):
    tensors[f"{model.torch_classifier}.weight"] = np.ascontiguousarray(head["kernel"].T)
    tensors[f"{model.torch_classifier}.bias"] = np.ascontiguousarray(head["bias"])
  save_file(tensors, folder / FILE, {"format": "pt"})
  if library == "torchvision":
    return {library: {"name": name}}
  return _timm_config(bundle, name, options)


def _timm_config(bundle: ExportBundle, name: str, options: dict[str, Any]) -> dict[str, Any]:
  """Returns the entries of config.json by which timm builds the model, from this folder or from the Hugging Face Hub."""
  model, shown = backbone(bundle.model), bundle.preprocessing
  cropped = shown.resize > 0 or shown.resident_size > 0  # the latter alone: all of the center square is resized to `size`
  pretrained = {
    "num_classes": len(bundle.classes),
    "input_size": [shown.channels, shown.size, shown.size],
    "fixed_input_size": "img_size" in options,
    "mean": [*shown.mean],
    "std": [*shown.std],
    "interpolation": shown.interpolation,
    "crop_pct": shown.size / shown.resize if shown.resize else 1.0,
    "crop_mode": "center" if cropped else "squash",
    "first_conv": model.first_conv.removesuffix(".weight"),
    "classifier": model.torch_classifier,
    **({"label_names": [*bundle.classes]} if bundle.classes else {}),
  }
  features = jax.eval_shape(bundle.network.encode, bundle.variables, jax.ShapeDtypeStruct((1, *bundle.image_shape), np.float32))
  return {
    "architecture": name,
    "num_classes": len(bundle.classes),
    "num_features": features.shape[1],
    "model_args": options,
    "pretrained_cfg": pretrained,
  }


def run(folder: pathlib.Path, bundle: ExportBundle) -> Callable[[np.ndarray], np.ndarray]:
  """Reads the file back into the network: maps float32 [b, size, size, c] to its output, float32 [b, n]."""
  network, variables = bundle.network.resized(bundle.variables, bundle.preprocessing.size)
  compute = dataclasses.replace(bundle, network=network).compute
  tensors = load_file(folder / FILE)
  loaded = from_torch(tensors, jax.tree.map(np.zeros_like, variables))  # a weight that the file lacks would stay 0
  if bundle.classes:
    name = backbone(bundle.model).torch_classifier
    loaded.params[CLASSIFIER] = {"kernel": tensors[f"{name}.weight"].T, "bias": tensors[f"{name}.bias"]}
  return lambda x: np.asarray(jax.jit(compute)(loaded, x))
