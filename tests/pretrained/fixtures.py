"""Weights files for tests, and encoders read back from them."""

import pathlib
from collections.abc import Callable, Mapping

import jax
import numpy as np
from safetensors.numpy import save_file

from jaxssl.config.schema import ModelConfig
from jaxssl.core.types import Variables
from jaxssl.models.backbone import backbone
from jaxssl.models.network import Network, build
from jaxssl.pretrained.match import find
from jaxssl.pretrained.read import read_tensors
from jaxssl.pretrained.torch_names import from_torch, torch_shapes

ODD = np.ones((5, 7), np.float32)
# The layouts of released files: the teacher's prefix, and the other tensors in the file
FAMILIES: Mapping[str, tuple[str, Callable[[Mapping], dict]]] = {
  "plain": ("", lambda w: {"head.weight": ODD} if "cls_token" in w else {"fc.weight": ODD, "fc.bias": ODD}),
  "dino": ("teacher.backbone.", lambda w: under("student.module.backbone.", w) | {"teacher.head.mlp.0.weight": ODD}),
  "dino_module": ("teacher.module.backbone.", lambda w: under("student.module.backbone.", w)),
  "isd": ("model.encoder_k.", lambda w: under("model.encoder_q.", w) | {"model.encoder_k.fc.0.weight": ODD}),
  "msf": ("state_dict.module.encoder_t.", lambda w: under("state_dict.module.encoder_q.", w) | odd("predict_q.0.weight")),
  "resa": ("momentum_encoder.", lambda w: under("encoder.", w) | {"momentum_projector.0.weight": ODD}),
  "resa_encoder": ("encoder.", lambda w: {"projector.0.weight": ODD}),
  "mocov2": ("state_dict.module.encoder_q.", lambda w: odd("encoder_q.fc.weight") | odd("queue")),
  "mocov3": (
    "state_dict.module.momentum_encoder.",
    lambda w: under("state_dict.module.base_encoder.", w) | odd("momentum_encoder.head.0.weight"),
  ),
}  # fmt: skip


def random_variables(network: Network, image_shape: tuple[int, int, int], seed: int = 0) -> Variables:
  """Draws the variables of a network: weights of unit gain, and scales and variances around 1."""
  rng = np.random.default_rng(seed)

  def draw(path: tuple, x: jax.ShapeDtypeStruct) -> np.ndarray:
    if path[-1].key in ("scale", "var"):
      return rng.uniform(0.5, 1.5, x.shape).astype(np.float32)
    return (rng.normal(size=x.shape) * np.prod(x.shape[:-1], initial=100 if x.ndim == 1 else 1) ** -0.5).astype(np.float32)

  return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(lambda: network.init(jax.random.key(0), image_shape)))


def random_encoder(model: ModelConfig, size: int = 32, channels: int = 3) -> Variables:
  """Draws the variables of the network of a config."""
  return random_variables(build(model, "float32", size), (size, size, channels))


def odd(name: str) -> dict:
  """Returns a tensor outside the encoder."""
  return {f"state_dict.module.{name}": ODD}


def under(prefix: str, weights: Mapping) -> dict:
  """Returns another network of the same kind, which must not be read."""
  return {prefix + name: np.zeros_like(x) for name, x in weights.items()}


def family(name: str, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Lays weights out as in a family's file, flat."""
  prefix, more = FAMILIES[name]
  return {prefix + n: x for n, x in weights.items()} | more(weights)


def nested(flat: Mapping[str, np.ndarray], outer: tuple[str, ...] = ("state_dict", "model", "teacher", "student")) -> dict:
  """Nests the outermost names, as in torch checkpoints."""
  tree: dict = {}
  for name, x in flat.items():
    first, _, rest = name.partition(".")
    if first in outer:
      tree.setdefault(first, {})[rest] = x
    else:
      tree[name] = x
  return tree


def write(path: pathlib.Path, tensors: Mapping[str, np.ndarray]) -> pathlib.Path:
  save_file({name: np.ascontiguousarray(x) for name, x in tensors.items()}, path)
  return path


def read_variables(path: pathlib.Path, name: str, network: Network, image: tuple[int, int, int]) -> Variables:
  """Reads the variables of a network with an encoder of the backbone `name` from a file."""
  shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), image))
  return from_torch(find(str(path), read_tensors(path), torch_shapes(shapes), backbone(ModelConfig(name=name)), False), shapes)


def with_statistics(model):
  """Sets the statistics of a torch network to values that differ from those of a new one, and LayerScale to 0..1."""
  import torch

  generator = torch.Generator().manual_seed(0)
  for name, buffer in model.named_buffers():
    if name.endswith(("running_mean", "running_var")):
      drawn = torch.rand(buffer.shape, generator=generator)
      buffer.copy_(drawn / 4 + 0.5 if name.endswith("var") else drawn / 4 - 0.125)
  for name, x in model.named_parameters():
    if name.endswith("gamma"):  # LayerScale starts at 1e-6, which would hide the branches
      x.data.copy_(torch.rand(x.shape, generator=generator))
  return model.eval()
