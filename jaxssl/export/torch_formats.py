"""Writes the formats `timm` and `torchvision`: safetensors under torch names, for the models of these libraries."""

import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from safetensors.numpy import load_file, save_file

from jaxssl.core.errors import UserError
from jaxssl.export.bundle import ExportBundle
from jaxssl.models.backbone import backbone
from jaxssl.pretrained.torch_names import from_torch, to_torch

FILE = "model.safetensors"


def write(folder: pathlib.Path, bundle: ExportBundle) -> dict[str, Any]:
  """Writes the weights and returns the entry for config.json. Raises UserError if the library has no such model."""
  library, model, (_, size, channels) = bundle.about["format"], backbone(bundle.model), bundle.image_shape
  if library == "timm":
    name, options = model.timm(channels, size)
    entry = {"name": name, "options": options}
  else:
    entry = {"name": model.torchvision()}
    if channels != 3:
      raise UserError(f"--format torchvision cannot express data.channels={channels}; timm, flax, onnx and stablehlo can")
  save_file(to_torch(*bundle.encoder()), folder / FILE, {"format": "pt"})
  return {library: entry}


def run(folder: pathlib.Path, bundle: ExportBundle) -> Callable[[np.ndarray], np.ndarray]:
  """Reads the file back into the encoder: maps float32 [b, size, size, c] to features."""
  tensors = load_file(folder / FILE)
  params, stats = bundle.encoder()
  encoder, _ = bundle.network.resized(bundle.variables, bundle.preprocessing.size)
  tree = {"params": from_torch(tensors, params), "batch_stats": from_torch(tensors, stats)}
  return lambda x: np.asarray(jax.jit(lambda x: encoder.apply(tree, x, train=False))(x))


def usage(bundle: ExportBundle) -> str:
  """Returns the usage example of the model card, in Markdown."""
  if bundle.about["format"] == "torchvision":
    return f"""```python
import torch, torchvision
from safetensors.torch import load_file

model = torchvision.models.{bundle.model.name}()
model.fc = torch.nn.Identity()  # the file has no classifier
model.load_state_dict(load_file("model.safetensors"), strict=True)
features = model.eval()(x)  # float32 [b, 3, h, w], normalized as above
```"""
  height, width, channels = bundle.image_shape
  name, options = backbone(bundle.model).timm(channels, height)
  keywords = "".join(f", {key}={value}" for key, value in options.items())
  return f"""```python
import timm, torch

model = timm.create_model("{name}", num_classes=0, checkpoint_path="model.safetensors"{keywords}).eval()
with torch.no_grad():
  features = model(x)  # float32 [b, {channels}, {height}, {width}], normalized as above
```"""
