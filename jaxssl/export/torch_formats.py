"""The formats `timm` and `torchvision`: safetensors under torch's names, for the models of these libraries."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from safetensors.numpy import load_file, save_file

from jaxssl.config.schema import ModelConfig
from jaxssl.core.errors import UserError
from jaxssl.export.bundle import ExportBundle
from jaxssl.models.vit import ViT
from jaxssl.pretrained.torch_names import from_torch, to_torch

FILE = "model.safetensors"
VITS = {"vit_ti": "vit_tiny_patch16_224", "vit_s": "vit_small_patch16_224", "vit_b": "vit_base_patch16_224"}
RESNETS = ("resnet18", "resnet34", "resnet50")


def write_timm(folder: pathlib.Path, subject: ExportBundle) -> dict[str, Any]:
  """Writes the weights for timm, and gives what config.json says of the model there.

  Raises UserError for a network that timm does not have.
  """
  name, options = timm_model(subject)
  _write(folder, subject)
  return {"timm": {"name": name, "options": options}}


def write_torchvision(folder: pathlib.Path, subject: ExportBundle) -> dict[str, Any]:
  """Writes the weights for torchvision, and gives what config.json says of the model there.

  Raises UserError for a network that torchvision does not have.
  """
  model = subject.model
  if model.name in VITS:
    raise UserError(f"--format torchvision cannot express model.name={model.name}; timm, flax, onnx and stablehlo can")
  _require_plain_resnet(model, "torchvision")
  if subject.channels != 3:
    raise UserError(f"--format torchvision cannot express data.channels={subject.channels}; timm, flax, onnx and stablehlo can")
  _write(folder, subject)
  return {"torchvision": {"name": model.name}}


def timm_model(subject: ExportBundle) -> tuple[str, dict[str, Any]]:
  """Gives the model's name in timm, and the keywords of `timm.create_model` in which it differs from what timm makes."""
  model, encoder = subject.model, subject.network.encoder
  options: Mapping[str, tuple[int, int]] = {"in_chans": (subject.channels, 3)}
  if isinstance(encoder, ViT):
    options |= {"img_size": (subject.size, 224), "patch_size": (encoder.patch, 16), "depth": (encoder.depth, 12)}
  else:
    _require_plain_resnet(model, "timm")
  return VITS.get(model.name, model.name), {name: ours for name, (ours, theirs) in options.items() if ours != theirs}


def run(folder: pathlib.Path, subject: ExportBundle) -> Callable[[np.ndarray], np.ndarray]:
  """Reads the tensors back into our tree: maps float32 [b, size, size, c] to features.

  Raises UserError where names or shapes are not the network's.
  """
  tensors = load_file(folder / FILE)
  params, stats = subject.encoder()
  like = to_torch(params, stats)
  wrong = [n for n in sorted({*tensors, *like}) if n not in tensors or n not in like or tensors[n].shape != like[n].shape]
  if wrong:
    raise UserError(f"{folder / FILE} does not hold the network: {', '.join(wrong[:5])}")
  module = subject.network.encoder
  if isinstance(module, ViT):  # the positions are those of the images now
    module = module.clone(image_size=subject.size)
  tree = {"params": from_torch(tensors, params), "batch_stats": from_torch(tensors, stats)}
  return lambda x: np.asarray(jax.jit(lambda x: module.apply(tree, x, train=False))(x))


def usage_timm(subject: ExportBundle) -> str:
  """Says how it is used."""
  name, options = timm_model(subject)
  words = "".join(f", {key}={value}" for key, value in options.items())
  return f"""```python
import timm, torch

model = timm.create_model("{name}", num_classes=0, checkpoint_path="model.safetensors"{words}).eval()
with torch.no_grad():
  features = model(x)  # float32 [b, {subject.channels}, {subject.size}, {subject.size}], normalized as above
```"""


def usage_torchvision(subject: ExportBundle) -> str:
  """Says how it is used."""
  return f"""```python
import torch, torchvision
from safetensors.torch import load_file

model = torchvision.models.{subject.model.name}()
model.fc = torch.nn.Identity()  # there is no classifier in the file
model.load_state_dict(load_file("model.safetensors"), strict=True)
features = model.eval()(x)  # float32 [b, 3, h, w], normalized as above
```"""


def _require_plain_resnet(model: ModelConfig, where: str) -> None:
  for field, value, holds in (
    ("name", model.name, model.name in RESNETS),
    ("stem", model.stem, model.stem == "imagenet"),
    ("width", model.width, model.width == 1),
  ):
    if not holds:
      raise UserError(f"--format {where} cannot express model.{field}={value}; flax, onnx and stablehlo can")


def _write(folder: pathlib.Path, subject: ExportBundle) -> None:
  # torch's own num_batches_tracked is not written: nobody counts it here, and strict loading does without.
  save_file(to_torch(*subject.encoder()), folder / FILE, {"format": "pt"})
